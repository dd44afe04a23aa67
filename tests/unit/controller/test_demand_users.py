"""Who may report demand, as the command line says it."""

import pytest
import structlog
from typer import Typer
from typer.testing import CliRunner

from jevons.cli.operator import command
from jevons.controller import wiring

GATEWAY = "system:serviceaccount:mine:jevons-gateway"


@pytest.mark.parametrize(
    ("words", "environment", "users"),
    [
        ([], None, (GATEWAY,)),
        (["--demand-user", "one", "--demand-user", "two"], None, ("one", "two")),
        ([], "one two", ("one", "two")),
    ],
)
def test_the_gateway_of_the_operators_namespace_reports_unless_others_are_named(monkeypatch, words, environment, users):
    given = []

    async def run(options):
        given.append(options)

    monkeypatch.setattr(wiring, "run", run)
    monkeypatch.setattr(structlog, "configure", lambda **_settings: None)  # it would outlive this test, with the runner's standard error closed
    app = Typer()
    app.command()(command)
    environment = {} if environment is None else {"JEVONS_OPERATOR_DEMAND_USER": environment}
    result = CliRunner().invoke(app, ["--prometheus-url", "http://127.0.0.1:1", "--namespace", "mine", *words], env=environment)
    assert result.exit_code == 0, result.output
    assert wiring.demand_users(given[0]) == users
