"""SQLAlchemy's dialect: Core and ORM against the server, the pool behind it, leaks found through it; pandas."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import enum
import gc
import ipaddress
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import leakpool
import pytest
import sqlalchemy as sa
from leakpool.sqlalchemy import LeakPool
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

# As the package's entry points do, which are not there when it is used from its source.
registry.register("postgresql.leakpool", "leakpool.sqlalchemy", "Dialect")
registry.register("postgresql.leakpool_async", "leakpool.sqlalchemy", "AsyncDialect")


@pytest.fixture
def url(dsn: str) -> str:
    return "postgresql+leakpool://" + dsn.split("://", 1)[1]


@pytest.fixture
def make_engine(url: str) -> Iterator[Callable[..., sa.Engine]]:
    made: list[sa.Engine] = []

    def make(**options: Any) -> sa.Engine:
        engine = sa.create_engine(url, **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(make_engine: Callable[..., sa.Engine]) -> sa.Engine:
    return make_engine(pool_size=2)


class Base(orm.DeclarativeBase):
    pass


class Mood(enum.Enum):
    happy = "happy"
    sad = "sad"


class Author(Base):
    __tablename__ = "sa_author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    mood: orm.Mapped[Mood | None] = orm.mapped_column(sa.Enum(Mood, name="sa_mood"))
    books: orm.Mapped[list[Book]] = orm.relationship(
        back_populates="author", cascade="all, delete-orphan", order_by="Book.id"
    )


class Book(Base):
    __tablename__ = "sa_book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    tags: orm.Mapped[list[str]] = orm.mapped_column(pg.ARRAY(sa.String))
    data: orm.Mapped[dict[str, Any]] = orm.mapped_column(pg.JSONB)
    added: orm.Mapped[dt.datetime] = orm.mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("sa_author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


@pytest.fixture
def tables(engine: sa.Engine) -> Iterator[sa.Engine]:
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)


# -- Core -------------------------------------------------------------------------------------------------------------


def test_statements_and_transactions(engine: sa.Engine) -> None:
    table = sa.Table(
        "sa_t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", sa.Text)
    )
    with engine.begin() as conn:
        table.create(conn)
    try:
        with engine.begin() as conn:
            assert conn.execute(
                sa.insert(table).returning(table.c.id), [{"x": "a"}, {"x": "b"}, {"x": None}]
            ).scalars().all() == [1, 2, 3]
        with engine.connect() as conn:
            conn.execute(sa.insert(table), {"x": "rolled back"})
        with pytest.raises(exc.IntegrityError) as caught, engine.begin() as conn:
            conn.execute(sa.insert(table), {"id": 1, "x": "again"})
        assert isinstance(caught.value.orig, leakpool.errors.UniqueViolation)
        with engine.connect() as conn:
            assert conn.execute(sa.select(table).order_by(table.c.id)).all() == [
                (1, "a"),
                (2, "b"),
                (3, None),
            ]
            assert conn.execute(sa.update(table).where(table.c.id > 1).values(x="c")).rowcount == 2
            with conn.begin_nested() as savepoint:
                conn.execute(sa.delete(table))
                savepoint.rollback()
            assert conn.scalar(sa.select(sa.func.count()).select_from(table)) == 3
            conn.execute(
                sa.text("UPDATE sa_t SET x = :x WHERE id = :id"), [{"x": "d", "id": 1}, {"x": "e", "id": 2}]
            )
            conn.commit()
            assert conn.execute(sa.text("SELECT x, '%y' FROM sa_t WHERE id = :id"), {"id": 2}).one() == (
                "e",
                "%y",
            )
        assert sa.inspect(engine).get_columns("sa_t")[1]["name"] == "x"
    finally:
        with engine.begin() as conn:
            table.drop(conn)


def test_types(engine: sa.Engine) -> None:
    values: list[tuple[Any, Any]] = [
        (sa.Integer(), 5), (sa.BigInteger(), 2**40), (sa.SmallInteger(), -3), (sa.Float(), 1.5), (sa.Numeric(10, 3), decimal.Decimal("1.500")), (sa.Boolean(), True),
        (sa.Text(), "ä€"), (sa.LargeBinary(), b"\x00\xff"), (sa.Date(), dt.date(2024, 2, 29)), (sa.Time(), dt.time(1, 2, 3)), (sa.DateTime(), dt.datetime(2024, 1, 1, 2)),
        (sa.DateTime(timezone=True), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)), (sa.Interval(), dt.timedelta(days=1, seconds=5)), (sa.Uuid(), uuid.UUID(int=7)),
        (sa.JSON(), {"a": [1, None]}), (pg.JSONB(), [1, {"b": "ä"}]), (pg.ARRAY(sa.Integer), [1, None, 3]), (pg.ARRAY(sa.Text, dimensions=2), [["a", "b"], ["c", 'd"']]),
        (pg.INET(), ipaddress.ip_address("127.0.0.1")), (pg.CIDR(), ipaddress.ip_network("10.0.0.0/8")), (pg.INT4RANGE(), pg.Range(1, 5)), (pg.TSTZRANGE(), pg.Range(None, None)),
        (pg.DATERANGE(), pg.Range(empty=True)), (pg.INT4MULTIRANGE(), [pg.Range(1, 2), pg.Range(4, 5)]), (pg.BIT(3), "101"), (sa.Enum(Mood, name="x", native_enum=False), Mood.sad),
        (pg.MACADDR(), "08:00:2b:01:02:03"), (sa.ARRAY(sa.Date), [dt.date(2000, 1, 1)]), (pg.ARRAY(pg.JSONB), [{"a": 1}]),
    ]  # fmt: skip
    table = sa.Table(
        "sa_types", sa.MetaData(), *[sa.Column(f"c{n}", kind) for n, (kind, _) in enumerate(values)]
    )
    with engine.connect() as conn:
        # Rolled back with everything.
        table.create(conn)
        conn.execute(sa.insert(table), {f"c{n}": value for n, (_, value) in enumerate(values)})
        conn.execute(sa.insert(table), {f"c{n}": None for n in range(len(values))})
        rows = conn.execute(sa.select(table)).all()
        assert [list(one) if isinstance(one, pg.ranges.MultiRange) else one for one in rows[0]] == [
            value for _, value in values
        ]
        assert set(rows[1]) <= {None}
        for n, (kind, value) in enumerate(values):
            if not isinstance(kind, (sa.JSON, pg.BIT)):
                assert conn.execute(sa.select(sa.func.count()).where(table.c[n] == value)).scalar() == 1, kind


def test_hstore_json_and_addresses_as_asked_for(make_engine: Callable[..., sa.Engine]) -> None:
    engine = make_engine(json_serializer=lambda value: '{"written": true}', native_inet_types=False)
    with engine.begin() as conn:
        conn.execute(sa.text("CREATE EXTENSION IF NOT EXISTS hstore"))
        assert conn.scalar(sa.select(sa.cast({"a": "1", "b": None}, pg.HSTORE))) == {"a": "1", "b": None}
        assert conn.scalar(sa.select(sa.cast({"x": 1}, pg.JSONB))) == {"written": True}
        assert conn.scalar(sa.select(sa.cast("10.0.0.1/8", pg.INET))) == "10.0.0.1/8"
    with pytest.raises(exc.ArgumentError, match="use leakpool.types.set_json_loads"):
        make_engine(json_deserializer=lambda text: text)


def test_isolation_and_autocommit(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        assert conn.get_isolation_level() == "READ COMMITTED"
    with engine.connect().execution_options(isolation_level="SERIALIZABLE", postgresql_readonly=True) as conn:
        assert conn.execute(sa.text("SHOW transaction_isolation")).scalar() == "serializable"
        with pytest.raises(exc.InternalError, match="read-only transaction"):
            conn.execute(sa.text("CREATE TABLE never (x int)"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("CREATE TABLE sa_auto (x int)"))
    with engine.connect() as conn:
        assert conn.get_isolation_level() == "READ COMMITTED"
        conn.execute(sa.text("DROP TABLE sa_auto"))
        conn.commit()
    with pytest.raises(exc.InvalidRequestError, match="two-phase"), engine.connect() as conn:
        conn.begin_twophase()


def test_large_results_from_the_server(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        result = conn.execution_options(stream_results=True, max_row_buffer=100).execute(
            sa.text("SELECT generate_series(1, 1000)")
        )
        assert sum(row[0] for row in result) == 500500
        assert [
            len(part) for part in conn.execute(sa.text("SELECT generate_series(1, 10)")).partitions(4)
        ] == [4, 4, 2]


# -- ORM --------------------------------------------------------------------------------------------------------------


def test_orm(tables: sa.Engine) -> None:
    with orm.Session(tables) as session:
        author = Author(name="Ada", mood=Mood.happy)
        author.books = [
            Book(title=f"Book {n}", price=decimal.Decimal("9.99") + n, tags=["a", f"t{n}"], data={"n": n})
            for n in range(3)
        ]
        session.add_all([author, Author(name="Bob")])
        session.commit()
        assert author.id and author.books[0].added.tzinfo is not None
    with orm.Session(tables) as session:
        found = session.scalars(
            sa.select(Author).options(orm.selectinload(Author.books)).where(Author.name == "Ada")
        ).one()
        assert [book.price for book in found.books] == [
            decimal.Decimal("9.99"),
            decimal.Decimal("10.99"),
            decimal.Decimal("11.99"),
        ]
        assert session.scalars(sa.select(Book.title).where(Book.data["n"].as_integer() == 2)).all() == [
            "Book 2"
        ]
        assert session.scalars(sa.select(Book.title).where(sa.literal("t1") == sa.any_(Book.tags))).all() == [
            "Book 1"
        ]
        assert session.execute(
            sa.select(Author.name, sa.func.count(Book.id))
            .outerjoin(Book)
            .group_by(Author.name)
            .order_by(Author.name)
        ).all() == [("Ada", 3), ("Bob", 0)]
        found.books.pop()
        found.mood = Mood.sad
        session.commit()
        assert session.scalar(sa.select(sa.func.count()).select_from(Book)) == 2
        session.add(Author(name="Bob"))
        with pytest.raises(exc.IntegrityError):
            session.flush()
        session.rollback()
        session.delete(found)
        session.commit()
        assert session.scalars(sa.select(Author.name)).all() == ["Bob"]


# -- the pool ---------------------------------------------------------------------------------------------------------


def test_the_pool_is_leakpools(make_engine: Callable[..., sa.Engine]) -> None:
    engine = make_engine(pool_size=1, max_overflow=1, pool_timeout=0.2, leakpool={"name": "mine"})
    assert isinstance(engine.pool, LeakPool) and engine.pool.status() == "LeakPool, no pool yet"
    with engine.connect() as one, engine.connect() as two:
        pids = {
            one.scalar(sa.text("SELECT pg_backend_pid()")),
            two.scalar(sa.text("SELECT pg_backend_pid()")),
        }
        assert len(pids) == 2
        with pytest.raises(exc.OperationalError) as caught:
            engine.connect()
        assert isinstance(caught.value.orig, leakpool.errors.PoolTimeout)
    with engine.connect() as again:
        assert again.scalar(sa.text("SELECT pg_backend_pid()")) in pids
        assert "mine" in engine.pool.status()
    pool = engine.dialect._pool  # type: ignore[attr-defined]
    engine.dispose()
    assert pool.closed
    # Its name is free once nobody has it any more, not even the frames of an error.
    del pool, caught
    gc.collect()
    with engine.connect() as conn:
        assert conn.scalar(sa.text("SELECT pg_backend_pid()")) not in pids
    with pytest.raises(exc.ArgumentError, match="must be at least 1"):
        make_engine(pool_size=0)
    with pytest.raises(exc.ArgumentError, match="must be a Pool or a mapping of its options, not int"):
        make_engine(leakpool=5)


def test_a_pool_that_is_there_already(
    url: str, make_engine: Callable[..., sa.Engine], pool: leakpool.Pool[Any]
) -> None:
    engine = make_engine(leakpool=pool)
    with engine.begin() as conn:
        assert conn.scalar(sa.text("SELECT 1")) == 1
        assert pool.get_stats()["pool_size"] == 1
    engine.dispose()
    assert not pool.closed
    with pool.connection() as own:
        assert own.execute("SELECT 2").fetchone() == (2,)


def test_what_is_invalidated_is_not_used_again(engine: sa.Engine) -> None:
    with engine.connect() as conn:
        pid = conn.scalar(sa.text("SELECT pg_backend_pid()"))
        conn.invalidate()
        conn.rollback()
        assert conn.scalar(sa.text("SELECT pg_backend_pid()")) != pid
    with engine.connect() as conn, engine.connect() as killer:
        pid = conn.scalar(sa.text("SELECT pg_backend_pid()"))
        killer.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(exc.DBAPIError) as caught:
            conn.execute(sa.text("SELECT 1"))
        assert caught.value.connection_invalidated
        conn.rollback()
        assert conn.scalar(sa.text("SELECT pg_backend_pid()")) != pid


@pytest.mark.parametrize("kind", [QueuePool, NullPool])
def test_pools_of_sqlalchemy(make_engine: Callable[..., sa.Engine], kind: Any) -> None:
    engine = make_engine(poolclass=kind, pool_pre_ping=True)
    for _ in range(3):
        with engine.begin() as conn:
            assert conn.execute(sa.text("SELECT :x"), {"x": [1, 2]}).scalar() == [1, 2]


def test_a_leak_is_found_where_the_engine_was_asked(make_engine: Callable[..., sa.Engine]) -> None:
    engine = make_engine(leakpool={"name": "leaky"})
    with engine.connect() as conn:
        conn.scalar(sa.text("SELECT 1"))

    def forget() -> Any:
        return engine.connect()

    kept = forget()
    (checkout,) = engine.dialect._pool.checkouts()  # type: ignore[attr-defined]
    assert checkout.site.function is not None and "forget" in checkout.site.function
    assert checkout.site.file is not None and checkout.site.file.endswith("test_sqlalchemy.py")
    kept.close()
    assert engine.dialect._pool.checkouts() == []  # type: ignore[attr-defined]


# -- asyncio ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning")
def test_async(url: str) -> None:
    async def main() -> None:
        engine = create_async_engine(url, pool_size=2, leakpool={"name": "async"})
        try:
            async with engine.begin() as conn:
                await conn.run_sync(Base.metadata.create_all)
            async with AsyncSession(engine) as session:
                session.add(
                    Author(name="Ada", books=[Book(title="One", price=decimal.Decimal(1), tags=[], data={})])
                )
                await session.commit()
                found = (
                    await session.scalars(sa.select(Author).options(orm.selectinload(Author.books)))
                ).one()
                assert [book.title for book in found.books] == ["One"]
            async with engine.connect() as conn:
                assert (
                    await conn.execute(sa.text("SELECT :x"), {"x": dt.date(2024, 1, 1)})
                ).scalar() == dt.date(2024, 1, 1)
                result = await conn.stream(sa.text("SELECT generate_series(1, 500)"))
                assert sum([row[0] async for row in result]) == 125250
                with pytest.raises(exc.ProgrammingError):
                    await conn.execute(sa.text("SELECT nothing"))
                await conn.rollback()
                conn = await conn.execution_options(isolation_level="AUTOCOMMIT")
                assert await conn.get_raw_connection()

            async def one(n: int) -> Any:
                async with engine.connect() as conn:
                    return await conn.scalar(sa.text("SELECT :n + 0"), {"n": n})

            assert await asyncio.gather(*[one(n) for n in range(10)]) == list(range(10))
            async with engine.begin() as conn:
                await conn.run_sync(Base.metadata.drop_all)
        finally:
            await engine.dispose()
        assert engine.sync_engine.dialect._pool is None  # type: ignore[attr-defined]

    asyncio.run(main())
    gc.collect()


# -- pandas -----------------------------------------------------------------------------------------------------------


def test_pandas(engine: sa.Engine, pool: leakpool.Pool[Any]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": [1, 2, 3],
            "b": ["x", None, "z"],
            "c": [1.5, 2.5, None],
            "d": pandas.to_datetime(["2024-01-01", "2024-01-02", None]),
        }
    )
    frame.to_sql("sa_frame", engine, index=False, if_exists="replace")
    try:
        sql = "SELECT a, b, c, d, a % 2 = 0 AS e FROM sa_frame ORDER BY a"
        through_engine = pandas.read_sql(sa.text(sql), engine)
        assert through_engine["a"].tolist() == [1, 2, 3] and through_engine["b"].tolist()[::2] == ["x", "z"]
        assert through_engine["d"].iloc[0] == pandas.Timestamp("2024-01-01") and through_engine[
            "e"
        ].tolist() == [False, True, False]
        with pool.connection() as conn, warnings.catch_warnings():
            # pandas says that it knows SQLAlchemy's connections best.
            warnings.simplefilter("ignore", UserWarning)
            plain = pandas.read_sql(sql.replace("%", "%%"), conn, params=[])
            assert plain["a"].tolist() == [1, 2, 3] and plain["d"].iloc[1] == pandas.Timestamp("2024-01-02")
            assert pandas.read_sql("SELECT %s AS x, %s AS y", conn, params=[1, "a"]).iloc[0].tolist() == [
                1,
                "a",
            ]
            assert pandas.read_sql("SELECT %(n)s::int8 AS x", conn, params={"n": frame["a"].max()}).iloc[
                0
            ].tolist() == [3]
        assert pandas.read_sql_table("sa_frame", engine)["c"].iloc[1] == 2.5
    finally:
        with engine.begin() as conn:
            conn.execute(sa.text("DROP TABLE sa_frame"))
