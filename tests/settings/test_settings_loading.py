"""``archiver.yaml``, then ``ARCHIVER_…`` variables over it; whatever is wrong is named with its file, line and key."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.document import DEPTH_MAX, DOCUMENT_BYTES_MAX
from archiver.errors import ConfigError
from archiver.settings import S3Address, Settings, SqsAddress, load, warnings


def write(folder: Path, text: str) -> Path:
    path = folder / "archiver.yaml"
    path.write_text(text, "utf-8")
    return path


def loaded(folder: Path, text: str = "workspace: acme\n") -> Settings:
    return load(write(folder, text))


def mistakes(folder: Path, text: str) -> str:
    """What a person is told, without the folder."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    assert caught.value.exit_code == 2
    return caught.value.what.replace(f"{folder}/", "")


class TestDefaults:
    def test_a_workspace_is_all_that_is_needed(self, tmp_path: Path) -> None:
        settings = loaded(tmp_path)
        assert settings.workspace == "acme"
        assert settings.place() == tmp_path / "archive"
        assert settings.state == tmp_path / "state"
        assert (settings.flock.auth, settings.flock.requests_per_second) == ("both", 1.0)
        assert settings.listen.body_bytes_max == 4194304
        assert warnings(settings) == []

    def test_settings_cannot_be_changed(self, tmp_path: Path) -> None:
        settings = loaded(tmp_path)
        with pytest.raises(ValueError, match="frozen"):
            settings.flock.tries_max = 7  # type: ignore[misc]


class TestSpool:
    def test_pushes_wait_in_a_file_unless_a_queue_is_named(self, tmp_path: Path) -> None:
        assert loaded(tmp_path).queue() is None
        assert loaded(tmp_path, "workspace: a\nspool: sqlite\n").queue() is None
        assert loaded(tmp_path, "workspace: a\nspool: sqs://captures\n").queue() == SqsAddress("captures", None)
        named = loaded(tmp_path, "workspace: a\nspool: sqs://123456789012/captures_1-A\n")
        assert named.queue() == SqsAddress("captures_1-A", "123456789012")

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("sqs://", "must name a queue"),
            ("sqs://a b", "must name a queue"),
            ("sqs://" + "a" * 81, "must name a queue"),
            ("sqs://captures.fifo", "must name a standard queue"),
            ("sqs://acme/captures", "must name an account by its 12 digits"),
            ("sqs://eu-central-1/123456789012/captures", "must be sqlite, sqs://queue or sqs://account/queue"),
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/captures", "must be sqlite, sqs://queue"),
            ("./spool.sqlite", "must be sqlite, sqs://queue"),
        ],
    )
    def test_anything_else_is_a_mistake(self, tmp_path: Path, value: str, told: str) -> None:
        assert told in mistakes(tmp_path, f"workspace: a\nspool: {json.dumps(value)}\n")


class TestPlaces:
    def test_relative_paths_are_relative_to_the_file_not_to_the_shell(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "etc"
        folder.mkdir()
        write(folder, "workspace: a\narchive: ../data\nstate: st\nflock: {tokens_file: t.json}\n")
        monkeypatch.chdir(tmp_path)
        settings = load(Path("etc/archiver.yaml"))
        assert settings.place() == tmp_path / "data"
        assert settings.state == folder / "st"
        assert settings.flock.tokens_file == folder / "t.json"

    def test_a_variable_s_path_is_relative_to_the_file_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "elsewhere")
        assert loaded(tmp_path).place() == tmp_path / "elsewhere"

    def test_home_is_understood(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/ann")
        assert loaded(tmp_path, "workspace: a\narchive: ~/archive\n").place() == Path("/home/ann/archive")

    @pytest.mark.parametrize(
        ("text", "bucket", "prefix"),
        [
            ("s3://acme-archive", "acme-archive", ""),
            ("s3://acme-archive/", "acme-archive", ""),
            ("s3://acme.archive/flock/2026/", "acme.archive", "flock/2026"),
        ],
    )
    def test_a_bucket_and_its_prefix(self, tmp_path: Path, text: str, bucket: str, prefix: str) -> None:
        assert loaded(tmp_path, f"workspace: a\narchive: {text}\n").place() == S3Address(bucket, prefix)

    @pytest.mark.parametrize(
        "text",
        [
            "s3://",
            "s3://B",
            "s3://acme/a//b",
            "s3://acme/../x",
            "s3://acme/ä",
            "s3://user:secret@acme/x",
            "gs://acme/x",
            "https://acme/x",
        ],
    )
    def test_an_address_that_names_no_place_is_refused(self, tmp_path: Path, text: str) -> None:
        assert mistakes(tmp_path, f"workspace: a\narchive: '{text}'\n").startswith("archiver.yaml:2: archive: must")

    @pytest.mark.parametrize("state", ["./archive", "./archive/state", "archive/../archive/x"])
    def test_the_state_never_lies_in_the_archive(self, tmp_path: Path, state: str) -> None:
        assert mistakes(tmp_path, f"workspace: a\nstate: {state}\n").startswith("archiver.yaml:2: state: ")


class TestMistakesInTheFile:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("workspace: a\nflok: {}\n", "archiver.yaml:2: flok: unknown key; did you mean flock?"),
            ("workspace: a\nflock:\n  auht: both\n", "archiver.yaml:3: flock.auht: unknown key; did you mean auth?"),
            ("workspace: a\nzzz: 1\n", "archiver.yaml:2: zzz: unknown key"),
            ("workspace: a\n_env_file: /x\n", "archiver.yaml:2: _env_file: unknown key"),
            ("flock: {}\n", "archiver.yaml:1: workspace: is missing"),
            ("", "archiver.yaml:1: workspace: is missing"),
            ("workspace: 2026-01-01\n", "archiver.yaml:1: workspace: must be text; put it in quotes"),
            ("workspace: ''\n", "archiver.yaml:1: workspace: must be a name of printable characters, not ''"),
            (
                "workspace: a\nflock:\n  base_url: x\n  auth: bot\n",
                "archiver.yaml:3: flock.base_url: must be an http:// or https:// address, not 'x'\n"
                "archiver.yaml:4: flock.auth: must be 'both', 'body' or 'header', not 'bot'",
            ),
            (
                "workspace: a\nlisten:\n  port: 99999\n",
                "archiver.yaml:3: listen.port: must be less than or equal to 65535, not 99999",
            ),
            (
                "workspace: a\nlisten:\n  port: yes\n",
                "archiver.yaml:3: listen.port: must be a number, not yes or no, not True",
            ),
            (
                "workspace: a\nlisten:\n  port: http\n",
                "archiver.yaml:3: listen.port: must be a valid integer, unable to parse string as an integer, not 'http'",
            ),
            ("workspace: a\nrun: 3\n", "archiver.yaml:2: run: must be a group of keys, not 3"),
            (
                "workspace: a\nfiles:\n  hosts_allowed:\n  - flock.com\n  - '*.flock.com'\n",
                "archiver.yaml:5: files.hosts_allowed.1: must be a host name such as flockusercontent.com, "
                "without scheme, port, path or wildcard, not '*.flock.com'",
            ),
            (
                "workspace: a\nfiles: {hosts_allowed: x}\n",
                "archiver.yaml:2: files.hosts_allowed: must be a list, not 'x'",
            ),
            (
                "workspace: a\nfiles: {trusted_origins: ['http://127.0.0.1:1/x']}\n",
                "archiver.yaml:2: files.trusted_origins.0: must be an exact origin such as http://127.0.0.1:8090, "
                "without a path, not 'http://127.0.0.1:1/x'",
            ),
            (
                "workspace: a\ns3:\n  secret_access_key: x\n",
                "archiver.yaml:3: s3.secret_access_key: credentials come from boto3's own chain: "
                "AWS_SECRET_ACCESS_KEY, a profile or an instance role",
            ),
        ],
    )
    def test_are_named_with_line_and_key(self, tmp_path: Path, text: str, told: str) -> None:
        assert mistakes(tmp_path, text) == told

    def test_are_all_told_at_once_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        told = mistakes(tmp_path, "workspace: 3\nlisten: {port: -1}\nfoo: 1\nflock: {tries_max: 0}\n").splitlines()
        assert [line.split(":")[1] for line in told] == ["1", "2", "3", "4"]

    def test_numbers_that_are_none_are_refused(self, tmp_path: Path) -> None:
        for number in (".nan", ".inf", "-1", "0", "1e999"):
            assert "requests_per_second" in mistakes(
                tmp_path, f"workspace: a\nflock: {{requests_per_second: {number}}}\n"
            )

    def test_a_missing_file_says_how_to_write_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no configuration at") as caught:
            load(tmp_path / "none.yaml")
        assert "archiver init" in caught.value.next_step

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            load(tmp_path)


class TestMistakesInTheEnvironment:
    def test_a_variable_wins_over_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_LISTEN__PORT", "9000")
        monkeypatch.setenv("ARCHIVER_FILES__HOSTS_ALLOWED", '["files.example.com"]')
        settings = loaded(tmp_path, "workspace: a\nlisten: {port: 8000, host: 127.0.0.2}\n")
        assert (settings.listen.port, settings.listen.host) == (9000, "127.0.0.2")
        assert settings.files.hosts_allowed == ("files.example.com",)

    def test_a_wrong_one_is_named_by_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_LISTEN__PORT", "high")
        assert mistakes(tmp_path, "workspace: a\nlisten: {port: 8000}\n").startswith("ARCHIVER_LISTEN__PORT: must be")

    def test_an_empty_one_counts_as_not_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_LISTEN__PORT", "")
        assert loaded(tmp_path).listen.port == 8080

    def test_an_unknown_one_within_a_group_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_LISTEN__PROT", "1")
        assert mistakes(tmp_path, "workspace: a\n") == "ARCHIVER_LISTEN__PROT: unknown key; did you mean port?"

    def test_any_other_unknown_one_is_only_warned_of(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_ARCHVE", "x")
        monkeypatch.setenv("ARCHIVER_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("ARCHIVER_CONFIG", "archiver.yaml")
        told = warnings(loaded(tmp_path))
        assert [line.split()[2] for line in told] == ["ARCHIVER_ARCHVE", "ARCHIVER_SERVICE_HOST"]
        assert "did you mean ARCHIVER_ARCHIVE?" in told[0]

    def test_tokens_over_a_plain_connection_are_warned_of(self, tmp_path: Path) -> None:
        assert "in clear" in warnings(loaded(tmp_path, "workspace: a\nflock: {base_url: 'http://flock.test/v1'}\n"))[0]
        assert warnings(loaded(tmp_path, "workspace: a\nflock: {base_url: 'http://127.0.0.1:9/v1'}\n")) == []


class TestSecretsInTheFile:
    @pytest.mark.parametrize(
        ("text", "key", "variable"),
        [
            ("flock:\n  tokens: {'u:a': abcdefgh1234}\n", "flock.tokens", "ARCHIVER_FLOCK__TOKENS"),
            ("listen:\n  path_secret: abcdefgh1234\n", "listen.path_secret", "ARCHIVER_LISTEN__PATH_SECRET"),
            ("listen:\n  app_secret: abcdefgh1234\n", "listen.app_secret", "ARCHIVER_LISTEN__APP_SECRET"),
            ("listen:\n  token_key: abcdefgh1234\n", "listen.token_key", "ARCHIVER_LISTEN__TOKEN_KEY"),
            (
                "listen:\n  webhook_tokens: {a: abcdefgh1234}\n",
                "listen.webhook_tokens",
                "ARCHIVER_LISTEN__WEBHOOK_TOKENS",
            ),
        ],
    )
    def test_are_refused_with_the_place_where_they_belong(
        self, tmp_path: Path, text: str, key: str, variable: str
    ) -> None:
        told = mistakes(tmp_path, f"workspace: a\n{text}")
        assert told.startswith(f"archiver.yaml:3: {key}: a secret has no place in this file")
        assert f"{key}_file" in told
        assert variable in told
        assert "abcdefgh1234" not in told

    def test_a_secret_of_the_wrong_type_is_not_quoted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARCHIVER_FLOCK__TOKENS", "abcdefgh1234")
        assert mistakes(tmp_path, "workspace: a\n") == "ARCHIVER_FLOCK__TOKENS: must be a JSON object"

    def test_user_and_password_in_an_address_are_refused_without_them(self, tmp_path: Path) -> None:
        told = mistakes(tmp_path, "workspace: a\nflock: {base_url: 'https://ann:abcdefgh1234@flock.test/'}\n")
        assert "must not hold a user or password" in told
        assert "abcdefgh1234" not in told


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (
                "workspace: a\nworkspace: b\n",
                "archiver.yaml:2: workspace: this key stands twice; the first is in line 1",
            ),
            (
                "workspace: a\nrun:\n  minutes_per_commit: 1\n  minutes_per_commit: 2\n",
                "archiver.yaml:4: run.minutes_per_commit: this key stands twice; the first is in line 3",
            ),
            (
                "workspace: &a x\narchive: *a\n",
                "archiver.yaml:2: YAML aliases (*a) are not read here; write the value out",
            ),
            (
                "workspace: a\n\tb: 1\n",
                "archiver.yaml:2: this is not YAML: found character '\\t' that cannot start any token",
            ),
            ("workspace: 'a\n", "archiver.yaml:2: this is not YAML: found unexpected end of stream"),
            ("workspace: a\n---\nworkspace: b\n", "archiver.yaml:2: this is not YAML: but found another document"),
            ("- a\n", "archiver.yaml:1: the file must hold keys and values, such as `workspace: acme`"),
            ("workspace: a\n? [x]\n: 1\n", "archiver.yaml:2: a key must be a plain word"),
            (
                "workspace: 2026-99-99\n",
                "archiver.yaml:1: this value cannot be read: month must be in 1..12; put it in quotes",
            ),
            (
                "workspace: !!python/name:os.system\n",
                "archiver.yaml:1: YAML tags (!!python/name:os.system) are not read here; write the value without it",
            ),
            (
                "workspace: a\x01\n",
                "archiver.yaml: this is not YAML: unacceptable character #x0001: special characters are not allowed",
            ),
        ],
    )
    def test_that_cannot_be_used_is_named_with_its_line(self, tmp_path: Path, text: str, told: str) -> None:
        assert mistakes(tmp_path, text) == told

    def test_that_is_not_utf_8_is_named_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "archiver.yaml").write_bytes(b"workspace: a\narchive: \xff\n")
        with pytest.raises(ConfigError, match=r"archiver\.yaml:2: this is not UTF-8"):
            load(tmp_path / "archiver.yaml")

    def test_with_a_byte_order_mark_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "archiver.yaml").write_bytes(b"\xef\xbb\xbfworkspace: a\n")
        assert load(tmp_path / "archiver.yaml").workspace == "a"

    def test_a_bomb_of_aliases_is_refused_at_once(self, tmp_path: Path) -> None:
        layers = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
        layers += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
        assert "aliases" in mistakes(tmp_path, "\n".join(layers))

    def test_several_megabytes_are_refused_at_once(self, tmp_path: Path) -> None:
        assert "larger than" in mistakes(tmp_path, "workspace: a\n#" + "x" * DOCUMENT_BYTES_MAX)

    def test_depth_is_bounded(self, tmp_path: Path) -> None:
        assert f"deeper than {DEPTH_MAX}" in mistakes(tmp_path, "workspace: " + "[" * 5_000)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["workspace", "flock", "listen", "port", "auth", "x"]), inner, max_size=4
                )
            ),
            max_leaves=12,
        )
    )
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    def test_whatever_stands_in_it_is_read_or_refused_as_configuration(self, tmp_path: Path, value: object) -> None:
        write(tmp_path, yaml.safe_dump(value, allow_unicode=True))
        with contextlib.suppress(ConfigError):
            assert load(tmp_path / "archiver.yaml").workspace


def test_a_value_survives_the_way_through_the_file(tmp_path: Path) -> None:
    """JSON is YAML, so what a program writes is read back as it was."""
    values = {"workspace": 'a: "b" #c', "listen": {"port": 1}, "files": {"hosts_allowed": ["Files.Example.COM."]}}
    settings = loaded(tmp_path, json.dumps(values))
    assert settings.workspace == 'a: "b" #c'
    assert settings.files.hosts_allowed == ("files.example.com",)
