"""A store in a directory: one file per object, under the object's key.

How a write survives a crash: the bytes go to a file in ``.store/incomplete`` and are flushed to the disk; then the file is
linked under the object's name, which fails if the name is taken; then the folder with the new name is flushed, as was every
folder above it when it was made. So a name appears with all its bytes or not at all, and stays. What a crash leaves in
``.store/incomplete`` is no object and never listed. Each unfinished file is locked by its writer, so that `LocalStore.sweep`
tells a stopped writer's file from a living one's.

Folders below the root are entered one by one without following symbolic links, so no link in the tree leads out of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from archiver.errors import KeyExistsError, KeyMissingError, StoreRefusedError
from archiver.store import Batch, ObjectInfo, ObjectLock, ThawSpeed, ThawState
from archiver.store import local_files as files
from archiver.store.classes import no_classes
from archiver.store.keys import OWN_FOLDER, RESERVED_FOLDERS, check_key, check_prefix, is_key
from archiver.store.local_batch import LocalBatch, Unfinished
from archiver.store.local_errors import Verb, is_missing, storage_error

_INCOMPLETE = (OWN_FOLDER, "incomplete")
_PROBE = (OWN_FOLDER, "probe")
_PROBE_TEXT = b"The archiver tries to write this file twice, to see that the second try is refused.\n"

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})

_Path = tuple[str, ...]


class LocalStore:
    """Keeps the `Store` contract in ``root``, which the first write makes. Several processes may share it.

    The file system must know hard links and ``flock``; `probe` refuses one that does not.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - Path.absolute keeps '..' and resolve follows links
        self._durable_folders: set[_Path] = set()

    @property
    def url(self) -> str:
        """The root as an absolute path."""
        return str(self._root)

    def create(self, key: str, data: bytes | Path) -> None:
        """Write a file under a free name; raises `KeyExistsError`, before copying anything if the name is taken by then."""
        self._create(_path_of(key), data)

    @contextlib.contextmanager
    def batch(self, folder: Path) -> Iterator[Batch]:
        """Write files without a key as they come; at the end flush them all at once, give them their names, and flush those."""
        del folder  # pieces go to their own file at once
        with self._folder("write", _INCOMPLETE, _INCOMPLETE, make=True) as incomplete:
            batch = LocalBatch(incomplete, translated=self._translated, is_taken=self._is_taken, publish=self._publish)
            try:
                yield batch
                batch.finish()
            finally:
                batch.drop()

    def replace(self, key: str, data: bytes) -> None:
        """Write a file over whatever file has the name."""
        *folders, name = path = _path_of(key)
        with (
            self._unfinished(path, data) as unfinished,
            self._folder("write", path, folders, make=True) as folder,
            self._translated("write", path),
        ):
            os.rename(unfinished.name, name, src_dir_fd=unfinished.folder, dst_dir_fd=folder)
            os.fsync(folder)

    def read(self, key: str) -> bytes:
        """Return a whole file."""
        with self.open(key) as reader, self._translated("read", _path_of(key)):
            return reader.read()

    def open(self, key: str) -> BinaryIO:
        """Return the open file."""
        *folders, name = path = _path_of(key)
        with self._folder("read", path, folders) as folder, self._translated("read", path):
            descriptor = os.open(name, files.READ_FLAGS, dir_fd=folder)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
        raise self._missing(path)

    def stat(self, key: str) -> ObjectInfo:
        """Return key and size."""
        *folders, name = path = _path_of(key)
        with self._folder("read", path, folders) as folder, self._translated("read", path):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            raise self._link_refused(path)
        if not stat.S_ISREG(facts.st_mode):
            raise self._missing(path)
        return ObjectInfo(key, facts.st_size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the files in key order, entering only the folders that can hold keys asked for."""
        check_prefix(prefix)
        check_prefix(after)
        return self._list(prefix, after)

    def delete(self, key: str) -> None:
        """Remove a file. Its folder stays, for another writer may be about to use it."""
        *folders, name = path = _path_of(key)
        with (
            contextlib.suppress(KeyMissingError),
            self._folder("delete", path, folders) as folder,
            self._translated("delete", path),
        ):
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)

    def erase(self, key: str) -> None:
        """Remove a file. The space that it took is given back to the file system, which writes over it when it likes."""
        self.delete(key)

    def lock(self, key: str) -> ObjectLock | None:
        """Return None: a file system knows no locks of this kind; raises `KeyMissingError`."""
        self.stat(key)
        return None

    def can_hold(self) -> bool:
        """Return False: a file system has no legal holds."""
        return False

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        """Raise `StoreRefusedError`: a file system has no legal holds."""
        del on
        self.stat(key)
        raise StoreRefusedError(
            f"{self.url} has no legal holds to put on {key}",
            next_step="keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
        )

    def storage_class(self, key: str) -> str | None:
        """Return None: there are no classes; raises `KeyMissingError`."""
        self.stat(key)
        return None

    def move_to_class(self, key: str, storage_class: str) -> bool:
        """Refuse: there are no classes."""
        self.stat(key)
        raise no_classes(self.url, storage_class)

    def is_cold(self, key: str) -> bool:
        """Return False: there are no classes; raises `KeyMissingError`."""
        self.stat(key)
        return False

    def thaw(self, key: str, *, days: int, speed: ThawSpeed) -> ThawState:
        """Return that it can be read, as everything here; raises `KeyMissingError`."""
        del days, speed
        self.stat(key)
        return "readable"

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield nothing: there are no versions."""
        check_prefix(prefix)
        return iter(())

    def probe(self) -> None:
        """Write a file of the store's own twice; raises `StoreRefusedError` if that works."""
        for _ in range(2):
            try:
                self._create(_PROBE, _PROBE_TEXT)
            except KeyExistsError:
                return
        raise StoreRefusedError(
            f"{self.url} let one file be created twice, so two runs could overwrite each other's work",
            next_step="keep the archive on a file system of this machine, such as ext4 or XFS",
        )

    def sweep(self) -> int:
        """Remove the unfinished files that no living writer holds; returns how many."""
        swept = 0
        with (
            contextlib.suppress(KeyMissingError),
            self._folder("clean", _INCOMPLETE, _INCOMPLETE) as folder,
            self._translated("clean", _INCOMPLETE),
        ):
            for name in os.listdir(folder):  # noqa: PTH208 - pathlib knows no descriptors
                swept += files.remove_if_left(folder, name)
        return swept

    def _create(self, path: _Path, data: bytes | Path) -> None:
        *folders, name = path
        with self._folder("write", path, folders, make=True) as folder:
            with self._translated("write", path):
                taken = files.exists(folder, name)
            if not taken:
                with self._unfinished(path, data) as unfinished, self._translated("write", path):
                    taken = not self._link(unfinished, folder, path)
            # Also for the loser of a race: it acts on what it is told exists, so that must not go away with the power.
            with self._translated("write", path):
                os.fsync(folder)
        if taken:
            raise KeyExistsError(f"{self._place(path)} exists already")

    def _is_taken(self, path: _Path) -> bool:
        try:
            with self._folder("read", path, path[:-1]) as folder, self._translated("read", path):
                return files.exists(folder, path[-1])
        except KeyMissingError:
            return False

    def _publish(self, unfinished: Unfinished, path: _Path) -> bool:
        """Give a file of a batch its name, in folders that the batch flushes at its end; returns False if the name is taken."""
        with (
            self._folder("write", path, path[:-1], make=True, flush=False) as folder,
            self._translated("write", path),
        ):
            return self._link(unfinished, folder, path)

    def _link(self, unfinished: Unfinished, folder: int, path: _Path) -> bool:
        """Give the unfinished file its name; returns False if the name is taken."""
        try:
            os.link(unfinished.name, path[-1], src_dir_fd=unfinished.folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            raise StoreRefusedError(
                f"the file system of {self.url} has no hard links, without which a write is not all or nothing",
                next_step="keep the archive on another file system, such as ext4 or XFS",
            ) from error
        return True

    @contextlib.contextmanager
    def _unfinished(self, path: _Path, data: bytes | Path) -> Iterator[Unfinished]:
        """Write the bytes to a locked file without a key, on the disk when given; it is gone when the block ends."""
        # Opened before anything is made: a source that cannot be read is the caller's error and not the store's.
        with files.chunks_of(data) as chunks, self._folder("write", path, _INCOMPLETE, make=True) as folder:
            with self._translated("write", path):
                descriptor, name = files.begin(folder)
            try:
                for chunk in chunks:
                    with self._translated("write", path):
                        files.write_all(descriptor, chunk)
                with self._translated("write", path):
                    os.fsync(descriptor)
                yield Unfinished(folder, name)
            finally:
                # Gone already after a rename; and what cannot be removed now, the next sweep removes.
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                os.close(descriptor)

    @contextlib.contextmanager
    def _folder(
        self, verb: Verb, path: _Path, folders: Sequence[str], *, make: bool = False, flush: bool = True
    ) -> Iterator[int]:
        """Give the descriptor of a folder below the root; ``path`` is what the errors name."""
        with self._translated(verb, path):
            descriptor = self._open_root(make=make)
            try:
                for depth in range(len(folders)):
                    inner = self._open_inner(descriptor, tuple(folders[: depth + 1]), make=make, flush=flush)
                    os.close(descriptor)
                    descriptor = inner
            except BaseException:
                os.close(descriptor)
                raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self, *, make: bool) -> int:
        try:
            return os.open(self._root, files.ROOT_FLAGS)
        except FileNotFoundError:
            if not make:
                raise
        self._durable_folders.clear()
        for folder in reversed([self._root, *self._root.parents]):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(mode=files.FOLDER_MODE)
                files.flush_folder(folder.parent)
        return os.open(self._root, files.ROOT_FLAGS)

    def _open_inner(self, outer: int, folders: _Path, *, make: bool, flush: bool) -> int:
        """Enter one folder more. A folder to write in is first known to be durable, whoever made it."""
        if make and folders in self._durable_folders:
            with contextlib.suppress(FileNotFoundError):
                return self._open_unlinked(outer, folders)
        if make:
            names = [folders[-1]]
            try:
                os.mkdir(folders[-1], files.FOLDER_MODE, dir_fd=outer)
            except FileExistsError:
                # What is seen before the outer folder is flushed is durable after: one flush is enough for all that were there.
                names = files.folders_in(outer) if flush else names
            if flush:
                os.fsync(outer)
                self._durable_folders.update((*folders[:-1], name) for name in names)
        return self._open_unlinked(outer, folders)

    def _open_unlinked(self, outer: int, folders: _Path) -> int:
        try:
            return os.open(folders[-1], files.FOLDER_FLAGS, dir_fd=outer)
        except NotADirectoryError:
            # Linux says the same of a file and of a link, and only the former is nobody's fault.
            if stat.S_ISLNK(os.stat(folders[-1], dir_fd=outer, follow_symlinks=False).st_mode):
                raise self._link_refused(folders) from None
            raise

    def _list(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        folders = tuple(prefix.split("/")[:-1])
        if folders and folders[0] in RESERVED_FOLDERS:
            return
        with contextlib.suppress(KeyMissingError), self._folder("list", folders, folders) as folder:
            yield from self._walk(folder, folders, prefix, after)

    def _walk(self, folder: int, folders: _Path, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """Yield what lies below one folder. A folder sorts by its name with a slash, as its keys do."""
        base = "".join(f"{name}/" for name in folders)
        with self._translated("list", folders), os.scandir(folder) as entries:
            names = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries)
        for name in names:
            key = base + name
            path = (*folders, name.removesuffix("/"))
            if not name.endswith("/"):
                if key.startswith(prefix) and key > after and (info := self._info(folder, path)):
                    yield info
            elif _may_hold(key, prefix, after) and not (len(path) == 1 and path[0] in RESERVED_FOLDERS):
                with contextlib.suppress(KeyMissingError), self._inner_folder(folder, path) as inner:
                    yield from self._walk(inner, path, prefix, after)

    @contextlib.contextmanager
    def _inner_folder(self, outer: int, folders: _Path) -> Iterator[int]:
        with self._translated("list", folders):
            descriptor = self._open_unlinked(outer, folders)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _info(self, folder: int, path: _Path) -> ObjectInfo | None:
        """Return a listed file's facts, or None if it is no object of ours or went away since."""
        key = "/".join(path)
        try:
            with self._translated("list", path):
                facts = os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
        except KeyMissingError:
            return None
        if stat.S_ISLNK(facts.st_mode):
            raise self._link_refused(path)
        return ObjectInfo(key, facts.st_size) if stat.S_ISREG(facts.st_mode) and is_key(key) else None

    @contextlib.contextmanager
    def _translated(self, verb: Verb, path: _Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_missing(error, verb):
                raise self._missing(path) from error
            if error.errno == errno.ELOOP:
                raise self._link_refused(path) from error
            raise storage_error(error, verb, place=self._place(path), root=self.url) from error

    def _missing(self, path: _Path) -> KeyMissingError:
        return KeyMissingError(f"there is no {self._place(path)}")

    def _link_refused(self, path: _Path) -> StoreRefusedError:
        return StoreRefusedError(
            f"{self._place(path)} is a symbolic link, which may lead out of the archive",
            next_step="put the file or folder itself in its place; a whole archive may lie behind a link, a part may not",
        )

    def _place(self, path: _Path) -> str:
        return str(self._root.joinpath(*path))


def _path_of(key: str) -> _Path:
    check_key(key)
    return tuple(key.split("/"))


def _may_hold(folder_key: str, prefix: str, after: str) -> bool:
    """Tell whether a key that begins with ``folder_key`` can begin with ``prefix`` and sort after ``after``."""
    can_match = folder_key.startswith(prefix) or prefix.startswith(folder_key)
    return can_match and (folder_key > after or after.startswith(folder_key))
