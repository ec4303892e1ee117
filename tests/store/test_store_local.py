"""What is special about a store in a directory: crashes, other processes, other inhabitants of the directory, full disks."""

from __future__ import annotations

import concurrent.futures
import errno
import fcntl
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path

import pytest

from archiver.errors import KeyExistsError, KeyMissingError, StoreFullError, StoreRefusedError
from archiver.store import local_files as files
from archiver.store.local import LocalStore
from archiver.store.local_files import COPY_BYTES
from tests.store.child import KILLED, in_child
from tests.store.os_steps import OsSteps, When

NOBODY = 65534
CONTENT = b"0123456789" * (COPY_BYTES // 5)  # two pieces, the second shorter

STEPS_MAX = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


# Crashes


def _crash_at_every_step(
    folder: Path, when: When, prepare: Callable[[LocalStore], None], work: Callable[[LocalStore], None]
) -> Iterator[Path]:
    """Give the root of one store for each step of ``work`` at which a process was killed; stops once the work ran through."""
    for step in range(1, STEPS_MAX):
        root = folder / f"step-{step}"
        prepare(LocalStore(root))

        def stopped(step: int = step, root: Path = root) -> None:
            store = LocalStore(root)
            OsSteps(stop_at=step, when=when).install()
            work(store)

        status, error = in_child(stopped)
        assert error is None
        if status == 0:
            assert step > 8, "the work has fewer steps than it must have: the seam is not in place"
            return
        assert status == KILLED
        yield root
    pytest.fail("the work never ends")


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("form", ["bytes", "file"])
def test_a_create_that_is_killed_at_any_step_leaves_nothing_or_the_whole_object(
    tmp_path: Path, when: When, form: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    data = CONTENT if form == "bytes" else source

    seen = set()
    for root in _crash_at_every_step(tmp_path, when, lambda _: None, lambda store: store.create("a/b/key", data)):
        store = LocalStore(root)
        is_there = [info.key for info in store.list("")] == ["a/b/key"]
        seen.add(is_there)
        if is_there:
            assert store.read("a/b/key") == CONTENT
            with pytest.raises(KeyExistsError):
                store.create("a/b/key", b"again")
        else:
            assert list(store.list("")) == []
            store.create("a/b/key", b"again")
        assert store.sweep() <= 1
        assert not any(root.glob(".store/incomplete/*"))
        assert store.read("a/b/key") == (CONTENT if is_there else b"again")
    assert seen == {True, False}


@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_a_replace_that_is_killed_at_any_step_leaves_the_old_or_the_new_object(tmp_path: Path, when: When) -> None:
    seen = set()
    for root in _crash_at_every_step(
        tmp_path, when, lambda store: store.replace("a/key", b"old"), lambda store: store.replace("a/key", CONTENT)
    ):
        store = LocalStore(root)
        content = store.read("a/key")
        seen.add(content)
        assert [info.size for info in store.list("")] == [len(content)]
        store.sweep()
        assert store.read("a/key") == content
    assert seen == {b"old", CONTENT}


def test_bytes_are_on_the_disk_before_the_name_and_the_name_and_its_folders_before_the_return(root: Path) -> None:
    """Power may fail at any moment; killing a process cannot show this, so the order of the calls is checked."""

    def create() -> list[tuple[str, str]]:
        steps = OsSteps()
        steps.install()
        LocalStore(root).create("a/b/key", CONTENT)
        return steps.trace

    _, trace = in_child(create)

    named_at = trace.index(("link", f"{root}/a/b/key"))
    unfinished = next(path for call, path in trace if call == "open")
    assert f"{root}/.store/incomplete/" in unfinished
    assert ("fsync", unfinished) in trace[:named_at]
    assert not [call for call, path in trace[trace.index(("fsync", unfinished)) :] if call == "write"]
    assert ("fsync", f"{root}/a/b") in trace[named_at:]
    for made in (f"{root}", f"{root}/a", f"{root}/a/b"):
        made_at = next(place for place, (call, path) in enumerate(trace) if call == "mkdir" and path == made)
        assert ("fsync", str(Path(made).parent)) in trace[made_at:named_at], made


def test_all_bytes_of_a_batch_are_on_the_disk_before_the_first_name_and_all_names_before_it_ends(root: Path) -> None:
    def create() -> list[tuple[str, str]]:
        steps = OsSteps()
        steps.install()

        class Library:
            def syncfs(self, descriptor: int) -> int:
                steps.trace.append(("syncfs", str(descriptor)))
                return 0

        files._C_LIBRARY = Library()
        with LocalStore(root).batch(root) as batch:
            batch.create("a/one", [CONTENT])
            batch.create("b/two", [CONTENT[:10], CONTENT[10:]])
        return steps.trace

    _, trace = in_child(create)

    calls = [call for call, _ in trace]
    first, last = (at for at, call in enumerate(calls) if call == "syncfs")
    assert "write" not in calls[first:]
    assert "link" not in calls[:first]
    assert {path for call, path in trace[first:last] if call == "link"} == {f"{root}/a/one", f"{root}/b/two"}
    assert set(calls[last + 1 :]) == {"unlink"}


@pytest.mark.parametrize("answer", ["refused at once", "refused later", "fell short"])
def test_what_cannot_go_past_the_cache_goes_through_it(root: Path, answer: str) -> None:
    """Some file systems refuse it altogether, some disks want larger blocks, and a full one takes a part."""
    content = b"".join(number.to_bytes(8, "big") for number in range(COPY_BYTES // 4))

    def create() -> list[str]:
        write, ways = os.write, list[str]()

        def answered(descriptor: int, data: bytes | memoryview) -> int:
            is_direct = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
            ways.append("past" if is_direct else "through")
            if is_direct and (answer == "refused at once" or (answer == "refused later" and len(ways) > 1)):
                raise OSError(errno.EINVAL, "not like this")
            if is_direct and answer == "fell short":
                fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)
                return write(descriptor, memoryview(data)[:1000])
            return write(descriptor, data)

        os.write = answered  # type: ignore[assignment]
        with LocalStore(root).batch(root) as batch:
            batch.create("key", [content[:COPY_BYTES], content[COPY_BYTES:]])
        return ways

    _, ways = in_child(create)
    assert ways[0] == "past"
    assert ways[-1] == "through"
    assert LocalStore(root).read("key") == content


def test_large_pieces_go_past_the_cache_and_small_ones_do_not(root: Path) -> None:
    def create() -> list[tuple[int, bool]]:
        write, written = os.write, list[tuple[int, bool]]()

        def noted(descriptor: int, data: bytes | memoryview) -> int:
            written.append((len(data), bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)))
            return write(descriptor, data)

        os.write = noted
        with LocalStore(root).batch(root) as batch:
            batch.create("large", [memoryview(mmap(-1, COPY_BYTES)), memoryview(mmap(-1, COPY_BYTES))[:-1]])
            batch.create("small", [b"x" * 4096])
        return written

    _, written = in_child(create)
    block = 4096
    assert written == [(COPY_BYTES, True), (COPY_BYTES - block, True), (block - 1, False), (block, False)]


def test_a_writer_makes_sure_of_folders_that_another_one_made(root: Path) -> None:
    """The other may have been stopped between making them and flushing them."""
    (root / "a/b").mkdir(parents=True)

    def create() -> list[tuple[str, str]]:
        steps = OsSteps()
        steps.install()
        LocalStore(root).create("a/b/key", b"x")
        return steps.trace

    _, trace = in_child(create)

    assert {("fsync", f"{root}"), ("fsync", f"{root}/a"), ("fsync", f"{root}/a/b")} <= set(trace)


def test_one_flush_is_enough_for_all_folders_that_were_there_before_it(root: Path) -> None:
    """An archive has a folder for each day, and a disposal writes into many of them; one that was made since has its own flush."""
    for name in ("b", "c", "d"):
        (root / "a" / name).mkdir(parents=True)

    def create() -> list[list[tuple[str, str]]]:
        steps = OsSteps()
        steps.install()
        store = LocalStore(root)
        traces = []
        for name in ("b", "c", "d", "e", "f"):
            if name == "f":
                (root / "a" / name).mkdir()  # by another, so that nobody knows whether it was flushed
            store.create(f"a/{name}/key", b"x")
            traces.append(list(steps.trace))
            steps.trace.clear()
        return traces

    _, traces = in_child(create)

    flushes = [trace.count(("fsync", f"{root}/a")) for trace in traces]
    assert flushes == [1, 0, 0, 1, 1]
    assert all(("fsync", f"{root}/a/{name}") in trace for name, trace in zip("bcdef", traces, strict=True))


# Leftovers


def test_a_stopped_writers_file_is_swept_and_a_living_ones_is_not(root: Path, tmp_path: Path) -> None:
    """The living writer waits in the middle of its source, a named pipe."""
    store = LocalStore(root)
    os.mkfifo(tmp_path / "pipe")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        writer = threads.submit(store.create, "key", tmp_path / "pipe")
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            pipe.write(b"first half, ")
            living = _wait_for_file(root / ".store/incomplete")
            (root / ".store/incomplete/left").write_bytes(b"by a writer that was killed")

            assert list(store.list("")) == []
            assert store.sweep() == 1

            assert living.exists()
            pipe.write(b"second half")
        writer.result()
    assert store.read("key") == b"first half, second half"
    assert store.sweep() == 0


def test_a_sweep_before_the_first_write_finds_nothing(root: Path) -> None:
    assert LocalStore(root).sweep() == 0
    assert not root.exists()


def _wait_for_file(folder: Path) -> Path:
    while not (found := list(folder.glob("*"))):
        os.sched_yield()
    return found[0]


# Other processes


def _create_and_tell(root: Path, number: int) -> int | None:
    try:
        LocalStore(root).create("race/key", f"process {number}".encode())
    except KeyExistsError:
        return None
    return number


def test_of_many_processes_exactly_one_wins(root: Path) -> None:
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        winners = [number for number in processes.map(_create_and_tell, [root] * 16, range(16)) if number is not None]

    assert len(winners) == 1
    assert LocalStore(root).read("race/key") == f"process {winners[0]}".encode()


def test_a_folder_that_somebody_removed_is_made_again(root: Path) -> None:
    store = LocalStore(root)
    store.create("a/b/one", b"1")
    (root / "a/b/one").unlink()
    (root / "a/b").rmdir()
    store.create("a/b/two", b"2")
    subprocess.run(["rm", "-r", root], check=True)

    store.create("a/b/three", b"3")

    assert [info.key for info in store.list("")] == ["a/b/three"]


# Links out of the store


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    (outside / "folder/secret").write_bytes(b"secret")
    return outside


def test_a_folder_that_is_a_link_is_refused_by_every_call(root: Path, outside: Path) -> None:
    store = LocalStore(root)
    store.create("a/key", b"x")
    (root / "a/link").symlink_to(outside / "folder")

    for use in (store.read, store.open, store.stat, store.delete):
        with pytest.raises(StoreRefusedError, match="a/link is a symbolic link"):
            use("a/link/secret")
    for write in (store.create, store.replace):
        with pytest.raises(StoreRefusedError, match="a/link is a symbolic link"):
            write("a/link/new", b"x")
    with pytest.raises(StoreRefusedError, match="a/link is a symbolic link"):
        list(store.list("a/"))
    assert sorted(path.name for path in (outside / "folder").iterdir()) == ["secret"]


def test_an_object_that_is_a_link_is_refused_and_never_written_through(root: Path, outside: Path) -> None:
    store = LocalStore(root)
    store.create("key", b"x")
    (root / "link").symlink_to(outside / "secret")

    for use in (store.read, store.open, store.stat):
        with pytest.raises(StoreRefusedError, match="link is a symbolic link"):
            use("link")
    with pytest.raises(StoreRefusedError):
        list(store.list(""))
    with pytest.raises(KeyExistsError):
        store.create("link", b"overwritten")
    store.replace("link", b"an object now")
    assert (outside / "secret").read_bytes() == b"secret"
    assert store.read("link") == b"an object now"


def test_the_whole_store_may_lie_behind_a_link(root: Path, outside: Path) -> None:
    root.symlink_to(outside / "folder")
    store = LocalStore(root)

    store.create("key", b"x")

    assert store.url == str(root)
    assert store.read("key") == b"x"


# Other inhabitants


def test_what_is_no_object_is_neither_listed_nor_read(root: Path) -> None:
    store = LocalStore(root)
    store.create("a/key", b"x")
    os.mkfifo(root / "a/pipe")
    (root / "a/empty folder").mkdir()
    (root / "a/ünïcode").write_bytes(b"x")
    (root / "lost+found").mkdir(mode=0)

    assert [info.key for info in store.list("")] == ["a/key"]
    for key in ("a/pipe", "a/empty folder"):
        with pytest.raises(KeyMissingError):
            store.read(key)
        with pytest.raises(KeyMissingError):
            store.stat(key)


def _folders_listed(root: Path, prefix: str, after: str) -> set[str]:
    def listed() -> set[str]:
        folders = set()

        def hear(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.scandir":
                folders.add(str(Path(f"/proc/self/fd/{arguments[0]}").readlink().relative_to(root)))

        sys.addaudithook(hear)
        list(LocalStore(root).list(prefix, after=after))
        return folders

    return in_child(listed)[1]


@pytest.mark.parametrize(
    ("prefix", "after", "folders"),
    [
        ("", "", {".", "dt=1", "dt=2", "dt=3", "dt=3/in"}),
        ("dt=3/", "", {"dt=3", "dt=3/in"}),
        ("dt=3/in/k", "", {"dt=3/in"}),
        ("dt=2", "", {".", "dt=2"}),
        ("", "dt=2/zzz", {".", "dt=2", "dt=3", "dt=3/in"}),
        ("", "dt=2~", {".", "dt=3", "dt=3/in"}),
        ("dt=", "dt=3/in/kez", {".", "dt=3", "dt=3/in"}),
    ],
)
def test_a_listing_enters_only_folders_that_can_hold_what_is_asked_for(
    root: Path, prefix: str, after: str, folders: set[str]
) -> None:
    for key in ("dt=1/key", "dt=2/key", "dt=3/in/key"):
        LocalStore(root).create(key, b"")

    assert _folders_listed(root, prefix, after) == folders


def test_a_key_cannot_be_below_an_object(root: Path) -> None:
    store = LocalStore(root)
    store.create("a", b"x")

    with pytest.raises(KeyMissingError):
        store.read("a/b")
    store.delete("a/b")
    with pytest.raises(StoreRefusedError, match="a/b"):
        store.create("a/b", b"x")
    with pytest.raises(StoreRefusedError):
        store.replace("a/b", b"x")


def test_folders_beside_names_that_continue_theirs_are_in_order_of_code_points_too(root: Path) -> None:
    store = LocalStore(root)
    keys = ["a/x", "a-b", "a.b", "a0", "a b/y", "a!/z"]
    for key in keys:
        store.create(key, b"")

    for after in ["", *keys]:
        assert [info.key for info in store.list("", after=after)] == [key for key in sorted(keys) if key > after]


def test_nobody_else_can_read_what_is_stored(root: Path) -> None:
    LocalStore(root).create("a/key", b"x")

    for path in (root, root / "a", root / "a/key", root / ".store"):
        assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO == 0, path


# Disks that do not obey


def test_a_write_above_the_size_limit_of_a_file_says_there_is_no_space_and_leaves_nothing(root: Path) -> None:
    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        LocalStore(root).create("key", b"x" * 200_000)

    _, error = in_child(write)

    assert isinstance(error, StoreFullError)
    assert "key" in error.what
    assert str(root) in error.next_step
    assert list(LocalStore(root).list("")) == []
    assert not any(root.glob(".store/incomplete/*"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small file system here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_leaves_what_was_there(tiny_disk: Path) -> None:
    store = LocalStore(tiny_disk / "store")
    store.create("before", b"x" * 1000)

    for write in (store.create, store.replace):
        with pytest.raises(StoreFullError, match="No space left on device"):
            write("large", b"x" * 500_000)

    assert [info.key for info in store.list("")] == ["before"]
    store.create("after", b"small enough")


@pytest.fixture
def foreign_root(tmp_path: Path) -> Iterator[Path]:
    """A store with one object, to all of which the child process of a test has no right."""
    root = tmp_path / "foreign"
    LocalStore(root).create("a/key", b"x")
    (root / "a").chmod(0o500)
    yield root
    (root / "a").chmod(0o700)


def _without_rights(work: Callable[[], object]) -> object:
    def restricted() -> object:
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        return work()

    return in_child(restricted)[1]


def test_a_directory_without_write_permission_refuses_and_says_what_to_do(foreign_root: Path) -> None:
    store = LocalStore(foreign_root)
    for write in (
        lambda: store.create("a/new", b"x"),
        lambda: store.replace("a/new", b"x"),
        lambda: store.delete("a/key"),
    ):
        error = _without_rights(write)
        assert isinstance(error, StoreRefusedError), error
        assert "Permission denied" in error.what
        assert str(foreign_root) in error.next_step


def _with_failing(name: str, code: int, work: Callable[[], object]) -> object:
    """Run ``work`` in a process whose system call ``name`` fails."""

    def failing(*_: object, **__: object) -> object:
        raise OSError(code, os.strerror(code))

    def broken() -> object:
        setattr(os, name, failing)
        return work()

    return in_child(broken)[1]


@pytest.mark.parametrize(
    ("call", "code", "kind", "told"),
    [
        ("link", errno.EPERM, "StoreRefusedError", "no hard links"),
        ("link", errno.EXDEV, "StoreRefusedError", "on one file system"),
        ("write", errno.ENOSPC, "StoreFullError", "make space"),
        ("write", errno.EDQUOT, "StoreFullError", "quota"),
        ("fsync", errno.EIO, "StoreUnreachableError", "check the disk"),
        ("mkdir", errno.EROFS, "StoreRefusedError", "let this user"),
    ],
)
def test_each_failure_of_the_file_system_is_told_as_what_it_is(
    root: Path, call: str, code: int, kind: str, told: str
) -> None:
    error = _with_failing(call, code, lambda: LocalStore(root).create("a/key", b"x"))

    assert type(error).__name__ == kind
    assert told in str(error)
    assert list(LocalStore(root).list("")) == []


def test_a_probe_refuses_a_file_system_that_lets_a_name_be_created_twice(root: Path) -> None:
    def link_over(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, **_: object) -> None:
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def forget(*_: object, **__: object) -> None:
        raise FileNotFoundError

    def broken() -> None:
        os.link = link_over
        store = LocalStore(root)
        real_stat = os.stat
        os.stat = lambda path, **kwargs: forget() if path == "probe" else real_stat(path, **kwargs)
        store.probe()

    _, error = in_child(broken)

    assert isinstance(error, StoreRefusedError)
    assert "created twice" in error.what
