"""Benchmarks: `python -m benchmarks NAME` prints one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    str | None,
    typer.Option(metavar="URL", help="Empty PostgreSQL database to fill. [default: a temporary one]"),
]

DatabaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Empty PostgreSQL database to fill. [default: a temporary one]"),
]
RedisUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Valkey or Redis. [default: a temporary one]")
]


@app.command()
@command
async def sessions(
    count: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of sessions.")
    ] = 1000,
    tls: Tls = False,
    seconds: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for which the sessions stay idle.")
    ] = 10,
    mail_bytes: Annotated[
        int,
        typer.Option(
            min=0, metavar="BYTES", help="Size of the mail that each session then reads; 0 for none."
        ),
    ] = 1_000_000,
    folders: Annotated[
        int,
        typer.Option(
            min=1, max=50, metavar="NUMBER", help="Watched folders; above 1, an idler is measured as well."
        ),
    ] = 1,
) -> None:
    """Measure idle IMAP sessions. Memory, CPU, event-loop lag, memory left after closing."""
    from benchmarks import folders as bench_of_folders
    from benchmarks import sessions as bench

    figures = await bench.run(count=count, tls=tls, seconds=seconds, mail_bytes=mail_bytes)
    if folders > 1:
        figures |= await bench_of_folders.run(count=count, folders=folders, seconds=seconds)
    _print(figures)


@app.command()
@command
async def wake(
    count: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of mails.")] = 2000,
    sessions: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of idle sessions.")
    ] = 500,
    tls: Tls = False,
    mail_bytes: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Size of each mail.")] = 5000,
    at_once: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of mails that arrive at the same time.")
    ] = 10,
) -> None:
    """Measure the cost of one mail to an idle session. CPU time from the push to the next IDLE."""
    from benchmarks import wake as bench

    _print(await bench.run(count=count, sessions=sessions, tls=tls, mail_bytes=mail_bytes, at_once=at_once))


@app.command()
@command
async def hostile(
    sessions: Annotated[
        int,
        typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of idle sessions at other servers."),
    ] = 200,
    wakes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="Number of mails to the other sessions, without an attack and during each.",
        ),
    ] = 300,
    mib: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Volume that the hostile server sends.")
    ] = 300,
    hostile: Annotated[
        int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Number of sessions at the hostile server.")
    ] = 1,
    attack: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Attack; may be repeated. `all` is every one. [default: three]"),
    ] = None,
) -> None:
    """Measure the effect of a server that sends endless data. Memory, wake-ups of other sessions."""
    from benchmarks import hostile as bench
    from benchmarks import hostile_idler
    from benchmarks.hostile_server import ATTACKS

    names = list(ATTACKS) if attack == ["all"] else attack or list(bench.DEFAULT_ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        raise typer.BadParameter(f"no such attack: {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    figures = await bench.run(sessions=sessions, wakes=wakes, mib=mib, hostile=hostile, attacks=names)
    if "invented-uids" in names:
        figures["idler"] = await hostile_idler.run(users=hostile)
    _print(figures)


@app.command()
@command
async def rebalance(
    users: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of users.")] = 1_000_000,
    idlers: Annotated[
        int, typer.Option(min=2, max=1000, metavar="NUMBER", help="Number of idlers that share the users.")
    ] = 100,
    database: Database = None,
) -> None:
    """Measure how idlers share users. Evenness, shards moved by a change, cost of a round."""
    from benchmarks import rebalance as bench

    _print(await bench.run(users=users, idlers=idlers, database=database))


@app.command()
@command
async def idler(
    users: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of users to watch.")
    ] = 2000,
    tls: Tls = False,
    seconds: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time for which the sessions stay idle.")
    ] = 10,
    logins_per_second: Annotated[
        float, typer.Option(min=1, metavar="NUMBER", help="Login rate at the start.")
    ] = 100,
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
    count: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of webhooks due at the start.")
    ] = 10_000,
    endpoints: Annotated[
        int,
        typer.Option(min=1, max=3000, metavar="NUMBER", help="Number of endpoints that share the webhooks."),
    ] = 100,
    answer_ms: Annotated[
        float,
        typer.Option(min=0, metavar="MS", help="Time after which the receiver answers, in milliseconds."),
    ] = 50,
    hanging: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="Number of webhooks due to a hanging endpoint; the others are then measured a second time.",
        ),
    ] = 0,
    seconds: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="Duration of each measurement of the other endpoints."),
    ] = 10,
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
        int,
        typer.Option(
            min=1, metavar="NUMBER", help="Number of mails that arrive one by one, to measure latency."
        ),
    ] = 100,
    idle: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of watched users.")
    ] = 1000,
    burst: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of mails that then arrive at once.")
    ] = 5000,
    burst_users: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of users that share the burst.")
    ] = 500,
    partners: Annotated[
        int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Number of partners that share the users.")
    ] = 10,
    mail_bytes: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Size of each mail.")] = 5000,
    paced: Annotated[
        int,
        typer.Option(
            min=0, metavar="SECONDS", help="Time for which mails then arrive at a steady pace, for all users."
        ),
    ] = 0,
    pace: Annotated[
        float, typer.Option(min=0.1, metavar="NUMBER", help="Mails a second of the steady pace.")
    ] = 20,
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
            paced_seconds=paced,
            pace=pace,
            database_url=database_url,
            redis_url=redis_url,
        )
    )


@app.command()
@command
async def sweep(
    history: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of mails in the mailbox that is swept.")
    ] = 20_000,
    idle: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of watched users.")
    ] = 1000,
    rate: Annotated[
        float, typer.Option(min=0.1, metavar="NUMBER", help="Live mails a second, for all users in turn.")
    ] = 20,
    mail_bytes: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Size of each mail.")] = 5000,
    kills: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="How often all services are killed meanwhile.")
    ] = 0,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure a sweep of one mailbox beside live mail. Latency of live mail, mails per second, lost ones."""
    from benchmarks import sweep as bench

    figures = await bench.run(
        history=history,
        idle=idle,
        rate=rate,
        mail_bytes=mail_bytes,
        kills=kills,
        database_url=database_url,
        redis_url=redis_url,
    )
    _print(figures)
    if figures["lost"] or figures["repeated"]:
        raise typer.Exit(1)


@app.command()
@command
async def quiet(
    users: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of users of the idler.")
    ] = 10_000,
    seconds: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Time to measure.")] = 600,
    settle: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time before that, after the logins.")
    ] = 60,
    of_users: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Users for whom a day is calculated.")
    ] = 300_000,
) -> None:
    """Measure what is written while no mail arrives. Bytes of PostgreSQL's log, rows by table."""
    from benchmarks import quiet as bench

    _print(await bench.run(users=users, seconds=seconds, settle=settle, of_users=of_users))


@app.command()
@command
async def onboard(
    users: Annotated[int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of users.")] = 1000,
    batch: Annotated[
        int,
        typer.Option(min=0, max=1000, metavar="NUMBER", help="Users in a request; 0: one, without a list."),
    ] = 0,
    tls: Tls = False,
    idle: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Time to measure the processes afterwards, with no mail."
        ),
    ] = 0,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Measure users that the API creates, until all are watched. CPU of each process, transactions, memory."""
    from benchmarks import onboard as bench

    figures = await bench.run(
        users=users, batch=batch, tls=tls, idle_seconds=idle, database_url=database_url, redis_url=redis_url
    )
    _print(figures)


@app.command()
@command
async def tokens(
    users: Annotated[
        int, typer.Option(min=1, max=25_000, metavar="NUMBER", help="Number of OAuth 2.0 users.")
    ] = 1000,
    life: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Lifetime of an access token.")] = 60,
    seconds: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Duration of the measurement, once all users are watched."
        ),
    ] = 180,
    idlers: Annotated[
        int, typer.Option(min=1, max=16, metavar="NUMBER", help="Number of idlers that share the users.")
    ] = 2,
    mails_per_second: Annotated[
        float, typer.Option(min=0.1, metavar="NUMBER", help="Rate of mails during the measurement.")
    ] = 20,
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
    users: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of users, and of sessions.")
    ] = 200,
    mails: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of mails.")] = 2000,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Number of random seeds, one after the other.")
    ] = 1,
    first: Annotated[int, typer.Option(metavar="SEED", help="The first seed.")] = 1,
    spread: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time over which the mails arrive.")
    ] = 20,
) -> None:
    """Check that each mail is found once while the server fails. One line of JSON per seed."""
    from benchmarks import chaos as bench

    wrong = 0
    async for figures in bench.seeds(range(first, first + seeds), count=users, mails=mails, spread=spread):
        _print(figures)
        wrong += figures["lost"] + figures["duplicates"]
    if wrong:
        raise typer.Exit(1)


@app.command()
@command
async def coefficients(
    users: Annotated[
        int, typer.Option(min=100, max=25_000, metavar="NUMBER", help="Number of users to watch.")
    ] = 2000,
    seconds: Annotated[
        int,
        typer.Option(min=10, metavar="SECONDS", help="Duration of a phase; the quiet one takes twice that."),
    ] = 60,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare with the file instead of writing it. Exit code 1 if it differs."
        ),
    ] = False,
    counted: Annotated[
        bool, typer.Option("--counted", help="Compare sizes and counts, and no CPU times.")
    ] = False,
) -> None:
    """Measure what a process, a session, a login and a mail cost. Writes benchmarks/coefficients.json."""
    from benchmarks import coefficients as bench
    from benchmarks import coefficients_file

    found, machine = await bench.run(users=users, seconds=seconds)
    if not check:
        coefficients_file.write(found, machine)
    wrong = coefficients_file.deviations(coefficients_file.read(), found, counted_only=counted)
    _print({"bench": "coefficients", **asdict(found), "deviations": wrong})
    if wrong:
        raise typer.Exit(1)


def _print(figures: dict[str, Any]) -> None:
    typer.echo(json.dumps(figures))


if __name__ == "__main__":
    app()
