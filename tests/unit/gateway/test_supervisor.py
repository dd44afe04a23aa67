"""What the supervisor leaves in the state folder before it starts anybody."""

import stat

import pytest
import typer

from jevons.cli import gateway as cli
from jevons.core.load import Work
from jevons.gateway import supervisor
from jevons.gateway.inflight import Inflight
from jevons.gateway.supervisor import GatewayOptions, Supervisor


@pytest.fixture
def prepare(tmp_path):
    made = []

    def prepared():
        one = Supervisor(GatewayOptions(tmp_path, None, listen="127.0.0.1:0", room_address="127.0.0.1:0", metrics_port=0))
        made.append(one)
        one.prepare()
        return (tmp_path / "secret").read_bytes()

    yield prepared
    for one in made:
        if one._room_socket is not None:
            one._room_socket.close()


def test_the_secret_is_whole_private_and_kept(prepare, tmp_path):
    secret = prepare()
    assert len(secret) == 32
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert prepare() == secret


def test_a_secret_that_could_not_be_written_is_made_at_the_next_start(prepare, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(supervisor.secrets, "token_bytes", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare()
    assert len(prepare()) == 32


def test_nothing_is_in_flight_at_a_start_whatever_was_booked_or_laid_out_otherwise_before(prepare, tmp_path):
    (tmp_path / "inflight.bin").write_bytes(b"\x40" * 1_000_000)
    prepare()
    Inflight(tmp_path / "inflight.bin", 0).add("10.0.0.1:8000", Work(100.0, 1), 1_800_000_000.0)
    prepare()
    assert Inflight(tmp_path / "inflight.bin", 0).outstanding(["10.0.0.1:8000"], 1_800_000_000.0) == [Work()]


def test_an_envoy_that_is_not_there_is_said_at_once(tmp_path):
    with pytest.raises(typer.BadParameter, match="no program"):
        cli.command(state_dir=tmp_path, envoy=tmp_path / "envoy")
