"""Benchmarks: `python -m benchmarks NAME` prints one line of JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from superimap.cli.running import command

app = typer.Typer(
    name="benchmarks",
    help="Measure sessions, mails and webhooks on this machine; each prints JSON.",
    no_args_is_help=True,
    rich_markup_mode=None,  # boxes cut long option names at 80 columns
    add_completion=False,
    pretty_exceptions_enable=False,
)

Tls = Annotated[bool, typer.Option("--tls", help="Use TLS, with a temporary certificate.")]

Database = Annotated[
    str | None, typer.Option(help="Empty PostgreSQL database to fill. [default: a temporary one]")
]

DatabaseUrl = Annotated[
    str | None, typer.Option(help="Empty PostgreSQL database to fill. [default: a temporary one]")
]
RedisUrl = Annotated[str | None, typer.Option(help="Valkey or Redis. [default: a temporary one]")]


@app.command()
@command
async def sessions(
    count: Annotated[int, typer.Option(min=1, max=25_000, help="Number of sessions.")] = 1000,
    tls: Tls = False,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds to hold them idle.")] = 10,
    mail_bytes: Annotated[
        int, typer.Option(min=0, help="Size of the mail that each reads afterwards; 0 for none.")
    ] = 1_000_000,
) -> None:
    """Measure idle IMAP sessions. Memory, CPU, event-loop lag, memory left after closing."""
    from benchmarks import sessions as bench

    _print(await bench.run(count=count, tls=tls, seconds=seconds, mail_bytes=mail_bytes))


@app.command()
@command
async def wake(
    count: Annotated[int, typer.Option(min=1, help="Number of mails.")] = 2000,
    sessions: Annotated[int, typer.Option(min=1, max=25_000, help="Number of idle sessions.")] = 500,
    tls: Tls = False,
    mail_bytes: Annotated[int, typer.Option(min=1, help="Size of each mail in bytes.")] = 5000,
    at_once: Annotated[int, typer.Option(min=1, help="Mails that arrive at the same time.")] = 10,
) -> None:
    """Measure the cost of one mail to an idle session. From the push until it idles again."""
    from benchmarks import wake as bench

    _print(await bench.run(count=count, sessions=sessions, tls=tls, mail_bytes=mail_bytes, at_once=at_once))


@app.command()
@command
async def hostile(
    sessions: Annotated[
        int, typer.Option(min=1, max=25_000, help="Number of idle sessions at other servers.")
    ] = 200,
    wakes: Annotated[
        int, typer.Option(min=1, help="Mails to the other sessions, without and during each attack.")
    ] = 300,
    mib: Annotated[int, typer.Option(min=1, help="MiB that the hostile server sends.")] = 300,
) -> None:
    """Measure the effect of a server that sends without end. Memory, wake-ups of other sessions."""
    from benchmarks import hostile as bench

    _print(await bench.run(sessions=sessions, wakes=wakes, mib=mib))


@app.command()
@command
async def rebalance(
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 1_000_000,
    idlers: Annotated[int, typer.Option(min=2, max=1000, help="Idlers that share them.")] = 100,
    database: Database = None,
) -> None:
    """Measure how idlers share users. Evenness, shards moved by a change, cost of a round."""
    from benchmarks import rebalance as bench

    _print(await bench.run(users=users, idlers=idlers, database=database))


@app.command()
@command
async def idler(
    users: Annotated[int, typer.Option(min=1, max=25_000, help="Number of users to watch.")] = 2000,
    tls: Tls = False,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to hold the sessions idle.")] = 10,
    logins_per_second: Annotated[float, typer.Option(min=1, help="Login rate at the start.")] = 100,
    database: Database = None,
) -> None:
    """Measure a whole idler. Start, memory per user, cost of rounds, stop."""
    from benchmarks import idler as bench

    _print(
        await bench.run(
            users=users, tls=tls, seconds=seconds, logins_per_second=logins_per_second, database=database
        )
    )


@app.command()
@command
async def deliver(
    count: Annotated[int, typer.Option(min=1, help="Webhooks due at the start.")] = 10_000,
    endpoints: Annotated[int, typer.Option(min=1, max=3000, help="Endpoints that share them.")] = 100,
    answer_ms: Annotated[float, typer.Option(min=0, help="Milliseconds before the receiver answers.")] = 50,
    hanging: Annotated[
        int,
        typer.Option(
            min=0, help="Webhooks due to a hanging endpoint, beside which the others are then measured."
        ),
    ] = 0,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to measure the others, each time.")] = 10,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure a dispatcher. Webhooks per second, CPU per webhook, effect of a hanging endpoint."""
    from benchmarks import deliver as bench

    _print(
        await bench.run(
            count=count,
            endpoints=endpoints,
            answer_ms=answer_ms,
            hanging=hanging,
            seconds=seconds,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def mail(
    server: Annotated[
        Literal["own", "dovecot"], typer.Option(help="Mail server: our own fake one, or a temporary Dovecot.")
    ] = "own",
    singly: Annotated[
        int, typer.Option(min=1, help="Mails that arrive one by one, to measure latency.")
    ] = 100,
    idle: Annotated[int, typer.Option(min=1, max=25_000, help="Number of watched users.")] = 1000,
    burst: Annotated[int, typer.Option(min=1, help="Mails that then arrive at once.")] = 5000,
    burst_users: Annotated[int, typer.Option(min=1, help="Users that share the burst.")] = 500,
    partners: Annotated[int, typer.Option(min=1, max=1000, help="Partners that share the users.")] = 10,
    mail_bytes: Annotated[int, typer.Option(min=1, help="Size of each mail in bytes.")] = 5000,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure mails from IMAP to webhook. Latency, mails per second, CPU of each process."""
    from benchmarks import mail as bench

    _print(
        await bench.run(
            server=server,
            singly=singly,
            idle=idle,
            burst=burst,
            burst_users=burst_users,
            partner_count=partners,
            mail_bytes=mail_bytes,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def tokens(
    users: Annotated[int, typer.Option(min=1, max=25_000, help="Number of OAuth 2.0 users.")] = 1000,
    life: Annotated[int, typer.Option(min=1, help="Lifetime of an access token in seconds.")] = 60,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to measure, once all are watched.")] = 180,
    idlers: Annotated[int, typer.Option(min=1, max=16, help="Idlers that share the users.")] = 2,
    mails_per_second: Annotated[float, typer.Option(min=0.1, help="Mails that arrive meanwhile.")] = 20,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure sessions whose access tokens expire. Evenness of reconnects, mails lost or repeated."""
    from benchmarks import tokens as bench

    _print(
        await bench.run(
            users=users,
            life=life,
            seconds=seconds,
            idlers=idlers,
            rate=mails_per_second,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def chaos(
    users: Annotated[int, typer.Option(min=1, help="Number of users, and of sessions.")] = 200,
    mails: Annotated[int, typer.Option(min=1, help="Number of mails.")] = 2000,
    seeds: Annotated[int, typer.Option(min=1, help="Number of random seeds, one after the other.")] = 1,
    first: Annotated[int, typer.Option(help="The first seed.")] = 1,
    spread: Annotated[float, typer.Option(min=0, help="Seconds over which the mails arrive.")] = 20,
) -> None:
    """Check that each mail is found once while the server fails. One line of JSON per seed."""
    from benchmarks import chaos as bench

    wrong = 0
    async for figures in bench.seeds(range(first, first + seeds), count=users, mails=mails, spread=spread):
        _print(figures)
        wrong += figures["lost"] + figures["duplicates"]
    if wrong:
        raise typer.Exit(1)


def _print(figures: dict[str, Any]) -> None:
    typer.echo(json.dumps(figures))


if __name__ == "__main__":
    app()
