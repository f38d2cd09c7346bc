"""The quality page: what a person's data look like, and nothing in it that acts."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pyarrow as pa
import pytest
import time_machine

from longshort import config, sessions, storage
from longshort.ingestion import embedded
from longshort.validation import drawing, profiles, quality, stage
from longshort.validation.markup import count, inert

PARAMS = config.read(Path(__file__).parents[1] / "params.yaml")
TYPES = {"ticker": pa.string(), "date": pa.date32(), **{c: pa.float64() for c in ("open", "high", "low", "close", "adj_close")}}
SCHEMA = pa.schema([*TYPES.items(), ("volume", pa.int64())])
NOTHING = {"rows_in": 0, "kept": 0, "quarantined": 0, "merged": 0}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></svg><b onclick=1>",
    "=cmd()",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\tx",
    "\rx",
]

ACCOUNT = {
    **{"rows_in": 10_007, "kept": 9_973, "quarantined": 23, "merged": 11},
    "calendar": {"name": "XNYS", "score": 0.9987},
    "files": [
        {
            **{"name": "AA.csv", "sha256": "a1b2c3d4" * 8, "rows_in": 4_001, "kept": 3_989, "quarantined": 7, "merged": 5},
            "read_as": {"layout": "one ticker", "encoding": "utf-8", "dates": "month/day/year", "numbers": "1,234.5", "tickers": 131},
            "repairs": [{"what": "thousands separators removed from Close", "count": 109, "line": 453}],
            "warnings": [{"what": "volume is 0", "count": 313, "line": 17}],
            "refused": [{"ticker": "XYZ", "what": "3 sessions where 250 are needed"}],
            "notes": ["Change % is not read"],
        },
        {
            **{"name": "BB.csv", "sha256": "e5f60718" * 8, "rows_in": 6_006, "kept": 5_984, "quarantined": 16, "merged": 6},
            "repairs": [{"what": "thousands separators removed from Close", "count": 211, "line": 9}],
        },
    ],
}
QUARANTINE = [
    {"file": "AA.csv", "line": 100 + n, "column": 3, "rule": "number", "what": f"what {n}", "raw": raw} for n, raw in enumerate(EVIL * 3)
]


def days(first: date, number: int) -> list[date]:
    return list(sessions.sessions("XNYS", first, first + timedelta(days=2 * number + 10)).date[:number])


def prices(*tickers: str, rows: int = 300, **changes: list[object]) -> pa.Table:
    """Walks of some tickers from 2004 on; a change is a whole column."""
    random = np.random.default_rng(0)
    own = days(date(2004, 8, 19), rows)
    close = np.concatenate([50 * np.exp(np.cumsum(random.normal(0, 0.02, rows))) for _ in tickers]) if tickers else np.empty(0)
    columns = {
        "ticker": [t for t in tickers for _ in own],
        "date": own * len(tickers),
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
    }
    columns |= {"close": close, "adj_close": [None] * len(close), "volume": random.integers(0, 10**6, len(close))}
    return pa.table(columns | changes, schema=SCHEMA)


def texts(*contents: str) -> pa.Table:
    return pa.table(
        {"document": [f"d{n}" for n in range(len(contents))], "text": list(contents)}, pa.schema([("document", "str"), ("text", "str")])
    )


def calendar(table: pa.Table) -> np.ndarray | None:
    return stage._sessions(table, "XNYS")


def shown(table: pa.Table, account: dict | None = None, quarantine: list | None = None) -> str:
    """The page of a table, of prices or of text by its columns."""
    task = "language-model" if "text" in table.column_names else "forecast"
    return quality.page("own", task, table, NOTHING if account is None else account, calendar(table), quarantine or [])


PARTS = ["train", "validation", "test"]


def labelled(task: str, *contents: str, labels: list[str] | None = None, part: list[str] | None = None) -> pa.Table:
    """A table of labelled texts, of tagged words whose tags are their words, or of pairs of a text and itself."""
    own = list(contents)
    columns = {
        "classify": {"text": own, "label": labels or own},
        "tag": {"text": own, "tags": own, "label": labels or own},
        "translate": {"source": own, "target": own},
    }[task]
    return pa.table(
        {**columns, **({"part": part} if part else {})}, pa.schema([(name, "str") for name in (*columns, *(["part"] if part else []))])
    )


def shown_as(task: str, table: pa.Table) -> str:
    return quality.page("own", task, table, ACCOUNT, None, QUARANTINE)


def captioned(*contents: str, part: list[str] | None = None) -> pa.Table:
    """A table of captions, whose numbers are their lengths, and one that never moves; a name of a column is a formula."""
    lengths = pa.array([float(len(one)) for one in contents], pa.float64())
    columns = {"=cmd()": lengths, "still": pa.array([0.1] * len(contents), pa.float64()), "caption": pa.array(contents, pa.string())}
    return pa.table({**columns, **({"part": part} if part else {})})


THREE = [f"{name} {n} of it" for n in range(20) for name in ("one", "two", "three")]
PAGES = {
    "labels": lambda: shown_as("classify", labelled("classify", *THREE, labels=["x", "y" * 90, "y"] * 20, part=PARTS * 20)),
    "tags": lambda: shown_as("tag", labelled("tag", *THREE, labels=["x", "y", "y"] * 20)),
    "pairs": lambda: shown_as("translate", labelled("translate", *THREE)),
    "captions": lambda: shown_as("caption", captioned(*THREE, part=PARTS * 20)),
    "evil captions": lambda: shown_as("caption", captioned(*EVIL, *EVIL)),
    "evil labels": lambda: shown_as("classify", labelled("classify", *EVIL, *EVIL, labels=[*EVIL, *reversed(EVIL)], part=PARTS * 6)),
    "evil tags": lambda: shown_as("tag", labelled("tag", *EVIL)),
    "evil pairs": lambda: shown_as("translate", labelled("translate", *EVIL, *EVIL)),
    "prices": lambda: shown(prices("AA"), ACCOUNT, QUARANTINE),
    "few tickers": lambda: shown(prices(*"ABCDE"), ACCOUNT),
    "many tickers": lambda: shown(prices(*(f"T{n}" for n in range(40))), ACCOUNT, QUARANTINE),
    "text": lambda: quality.page("topics", "language-model", embedded.load("topics").table, ACCOUNT, None, QUARANTINE),
    "evil tickers": lambda: shown(prices(*sorted(EVIL))),
    "evil text": lambda: shown(texts(*EVIL, "\n".join(EVIL * 2))),
    "evil account": lambda: shown(prices("AA"), evil(ACCOUNT), [evil(row) for row in QUARANTINE]),
}
every_page = pytest.mark.parametrize("name", PAGES)


def evil(value: object) -> object:
    """A JSON value with a script for each text in it."""
    if isinstance(value, dict):
        return {key: evil(item) for key, item in value.items()} | ({EVIL[1]: EVIL[2]} if "layout" in value else {})
    if isinstance(value, list):
        return [evil(item) for item in value]
    return EVIL[1] + value if isinstance(value, str) else value


class Reader(HTMLParser):
    """Tags of a page, their balance, and its words."""

    EMPTY = ("meta", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.cells: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.cells += [""] * (tag in ("td", "th", "dd", "b"))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data
            if {"td", "th", "dd", "b"} & set(self.open):
                self.cells[-1] += data


# --- nothing acts, nothing is fetched -------------------------------------------------------------

ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "div",
        "h1",
        "h2",
        "h3",
        "p",
        "a",
        "b",
        "small",
    ),
    *("span", "code", "time", "ul", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"),
    *("svg", "desc", "path", "line", "rect", "circle", "text"),
}


@every_page
def test_a_page_is_well_formed_and_made_of_elements_that_do_nothing(name):
    read = Reader(PAGES[name]())
    assert read.open == []
    assert {tag for tag, _ in read.tags} <= ELEMENTS
    for tag, attributes in read.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset", "action", "xlink:href", "data")], tag
        assert attributes.get("href", "#").startswith("#") or attributes["href"] == "index.html"
        assert "url" not in (attributes.get("style") or "")


@every_page
def test_a_page_states_its_policy_before_anything_else_and_names_no_address(name):
    page = PAGES[name]()
    assert page.index(f'content="{POLICY}"') < page.index("<style>") and '<meta name="viewport"' in page
    assert not re.search(r"@import|url\s*\(|<script", page, re.IGNORECASE)
    if name != "text":  # the topics tell of addresses
        assert "http:" not in page and "https:" not in page


@every_page
def test_every_link_within_a_page_leads_somewhere(name):
    tags = Reader(PAGES[name]()).tags
    links = {given["href"][1:] for tag, given in tags if tag == "a" and given["href"].startswith("#")}
    assert links and links <= {given["id"] for _, given in tags if "id" in given}


@every_page
def test_tables_have_captions_and_pictures_have_words(name):
    page = PAGES[name]()
    assert page.count("<caption>") == page.count("<table") > 0
    for svg in re.findall(r"<svg[^>]*>(?:<title>)?", page):
        assert "<title>" in svg or 'aria-hidden="true"' in svg or "viewBox" in svg


def test_cells_that_a_spreadsheet_would_run_have_an_apostrophe_before_them():
    read = Reader(shown(prices(*sorted(EVIL)), ACCOUNT, QUARANTINE))
    assert not [
        cell
        for cell in read.cells
        if cell.startswith(("=", "+SUM", "@", "\t", "\r", "+1", "-2")) and not re.match(r"\+[\d,.]+(\u00a0%|$)", cell)
    ]
    for text in ("'=cmd()", "'+1", "'-2+3", "'@SUM(A1)", "'\\tx", "'\\rx"):
        assert text in read.cells


def test_signs_that_turn_the_direction_of_writing_are_shown_by_their_numbers():
    assert inert("a\u202eb\x00\ud800") == "a\\u202eb\\x00\\ud800"
    shown(texts("a\u202eb\x00")).encode()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.CHROMIUM is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium); the pages are parsed only, not opened")
    with browser.started(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@every_page
def test_a_browser_asks_for_nothing_and_a_phone_shows_the_whole_width(tab, tmp_path, name):
    page = tmp_path / "quality.html"
    page.write_text(PAGES[name](), encoding="utf-8")
    for width, dark in ((1280, False), (360, True)):
        tab.open(page, width, dark)
        assert tab.requests == [page.as_uri()]
        assert tab.errors == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        right = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right"
        assert tab.evaluate(f"{right} > {width + 1}).map(e => e.outerHTML)") == []
        assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark


def test_the_browser_of_these_tests_sees_what_a_page_asks_for(tab, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'>" + "<p style='width:500px'>x")
    tab.open(page, 360)
    assert "http://127.0.0.1:9/x.png" in tab.requests and tab.evaluate("document.documentElement.scrollWidth") > 360


# --- colours ----------------------------------------------------------------------------------


def colours(dark: bool) -> dict[str, str]:
    """The custom colours of both stylesheets, in one of the two schemes."""
    text = "".join(Path(quality.__file__).with_name(name).read_text() for name in ("datadocs.css", "quality.css"))
    within = re.findall(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", text, re.DOTALL)
    outside = re.findall(r"^:root \{(.*?)\}", text, re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", "".join(outside + (within if dark else []))))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_letters_and_curves_stand_out_from_the_paper(dark):
    of = colours(dark)
    assert len(of) > 20
    for name in ("ink", "quiet", "link", "bad", "normal"):
        assert contrast(of[name], of["paper"]) >= 4.5, name
    assert contrast(of["ink"], of["wash"]) >= 4.5
    for name in ("curve", "part", "volume", "dot", "kept", "aside", "merged", "h3", "h4"):
        assert contrast(of[name], of["paper"]) >= 3, name


# --- the same bytes ---------------------------------------------------------------------------


@every_page
def test_the_same_data_give_the_same_page_a_year_later(name):
    with time_machine.travel("2031-01-01"):
        first = PAGES[name]()
    with time_machine.travel("2032-03-04"):
        assert PAGES[name]() == first


def test_a_table_and_an_account_stay_as_they_were():
    table, before = prices("B", "A"), repr(ACCOUNT)
    copy = pa.Table.from_pydict(table.to_pydict(), table.schema)
    shown(table, ACCOUNT, QUARANTINE)
    assert table.equals(copy) and repr(ACCOUNT) == before


# --- little, nothing, and other than expected -----------------------------------------------------


@pytest.mark.parametrize(
    "table", [prices(), prices("AA", rows=1), prices("AA", "BB", rows=1), prices("AA", rows=2), texts(), texts(""), texts("one")]
)
def test_small_tables_can_be_shown(table):
    for account in ({}, NOTHING, ACCOUNT):
        assert Reader(shown(table, account)).open == []


NAN = float("nan")


@pytest.mark.parametrize(
    "close", [[None] * 300, [NAN] * 300, [5.0] * 300, [0.0] * 300, [-1.0, 1.0] * 150, [np.inf, 1.0, 1e-9] * 100, [1.0, *[None] * 298, 2.0]]
)
def test_odd_prices_can_be_shown(close):
    page = shown(prices("AA", close=close))
    assert Reader(page).open == [] and "nan" not in page and "inf" not in page.replace("information", "")


@pytest.mark.parametrize("column", ["ticker", "date", "open", "close", "volume"])
def test_a_table_that_lacks_a_column_can_be_shown(column):
    assert Reader(shown(prices("AA").drop_columns(column), ACCOUNT)).open == []


def test_a_table_of_other_types_shows_its_account():
    page = shown(prices("AA").set_column(1, "date", pa.array(["2004-08-19"] * 300)), ACCOUNT)
    assert "The columns are not those of this task" in page and "10,007" in page


def test_rows_without_ticker_or_date_are_told():
    assert "2 rows without a ticker or a date" in shown(prices("AA", ticker=[None, None, *["AA"] * 298]))


def test_prices_without_open_high_and_low_can_be_shown():
    page = shown(prices("AA", open=[None] * 300, high=[None] * 300, low=[None] * 300))
    assert "Not known at all: open, high, low, adj_close." in page and "low to high" not in page


# --- what it says -----------------------------------------------------------------------------


def test_every_count_of_the_account_stands_in_the_page():
    rows = [row | {"rule": "number" if n < 16 else "date"} for n, row in enumerate(QUARANTINE[:23])]
    read = Reader(shown(prices("AA"), ACCOUNT, rows))
    numbers = [n for place in (ACCOUNT, *ACCOUNT["files"]) for key, n in place.items() if isinstance(n, int)]
    numbers += [entry["count"] for file in ACCOUNT["files"] for entry in (*file["repairs"], *file.get("warnings", []))]
    for number in [*numbers, 109 + 211, 131, 16, 23 - 16]:
        assert count(number) in read.cells, number
    for text in (
        "99.87\u00a0%",
        "AA.csv:453",
        "BB.csv:9",
        "AA.csv:17",
        "XYZ",
        "3 sessions where 250 are needed",
        "Change % is not read",
        "month/day/year",
    ):
        assert text in read.words


def test_the_balance_is_said_in_words_and_a_wrong_one_is_told():
    assert "10,007 rows in = 9,973 kept + 23 quarantined + 11 merged" in Reader(shown(prices("AA"), ACCOUNT)).words
    assert "does not add up" not in shown(prices("AA"), ACCOUNT)
    assert "does not add up: 1 row lost" in shown(prices("AA"), ACCOUNT | {"merged": 10})


def test_of_the_rows_set_aside_twenty_are_shown_as_they_were():
    read = Reader(shown(prices("AA"), ACCOUNT, QUARANTINE))
    assert "what 19" in read.words and "what 20" not in read.words
    assert "27 rows set aside" in read.words and "AA.csv:100:3, 101:3, 102:3" in read.cells


def test_an_embedded_data_set_names_its_origin():
    account = NOTHING | {"embedded": {"from": "matplotlib", "version": "3.11", "sha256": "0123abcd"}}
    assert "it comes with matplotlib 3.11" in shown(prices("AA"), account) and "0123abcd" in shown(prices("AA"), account)


def test_missing_sessions_are_counted_between_a_tickers_own_ends():
    table = prices("AA", "BB").take([n for n in range(600) if n not in (10, 11, 12, 50) and n > 5 and n < 590])
    found = profiles.coverage(profiles.of_prices(table), calendar(prices("AA", "BB")))
    assert found.missing.tolist() == [4, 0] and found.elsewhere == 0
    assert (found.longest(1)[0, 2] - found.longest(1)[0, 1] + 1, len(found.gaps)) == (3, 2)
    assert int((found.expected - found.present).sum()) == 4


def test_a_day_off_the_calendar_and_a_day_twice_are_no_session():
    own = days(date(2004, 8, 19), 300)
    own[7] = date(2004, 8, 28)  # a Saturday, where Monday the 30th was
    own[20] = own[19]
    found = profiles.coverage(profiles.of_prices(prices("AA", date=sorted(own))), calendar(prices("AA")))
    assert (found.elsewhere, found.missing.tolist()) == (1, [2])


def test_rows_out_of_order_are_shown_in_order():
    table = prices("AA", "BB")
    backwards = table.take(list(range(599, -1, -1)))
    assert shown(backwards) == shown(table)


def test_a_move_never_goes_from_one_ticker_to_the_next():
    found = profiles.of_prices(prices("AA", "BB", rows=2, close=[1.0, 1.1, 100.0, 110.0]))
    np.testing.assert_allclose(found.moves, [np.nan, np.log(1.1), np.nan, np.log(1.1)])
    assert found.stale.tolist() == [False] * 4


def test_a_move_of_the_size_of_a_split_is_told():
    assert "the size of a 2:1 split" in shown(prices("AA", close=[100.0] * 150 + [50.5] * 150))


def test_the_moments_are_those_of_scipy():
    from scipy import stats

    values = np.random.default_rng(0).gamma(2, size=5000)
    found = profiles.moments(values)
    np.testing.assert_allclose([found.skew, found.kurtosis], [stats.skew(values), stats.kurtosis(values)])


def test_words_are_counted_in_lower_case():
    found = profiles.of_texts(texts("The cat. the DOG's\n\nthe end", "end"))
    assert found.words == {"the": 3, "end": 2, "cat": 1, "dog's": 1}
    assert (found.total, found.lines, found.per_document.tolist(), found.per_line.tolist()) == (7, 4, [6, 1], [4, 2, 1])
    assert [found.unknown(n) for n in (1, 2, 3, 4)] == [(0, 4), (pytest.approx(2 / 7), 2), (pytest.approx(4 / 7), 1), (1, 0)]


def test_rows_of_one_long_document_are_counted_as_one(monkeypatch):
    monkeypatch.setattr(profiles, "GOES_ON", 12)
    whole = ["one two three four five\nsix seven", "eight"]
    cut = [whole[0][:14], whole[0][14:], whole[1]]
    one = profiles.of_texts(texts(*whole))
    other = profiles.of_texts(pa.table({"document": ["a", "a", "b"], "text": cut}))
    assert other.names == ["a", "b"]
    assert other.per_document.tolist() == one.per_document.tolist() == [7, 1] and other.per_line.tolist() == one.per_line.tolist()
    assert (other.words, other.lines, other.characters) == (one.words, one.lines, one.characters)


def test_repeated_lines_are_listed_most_frequent_first():
    read = Reader(shown(texts("a b\nc\n\na b", "c\na b\n\n")))
    assert [cell for cell in read.cells if cell in ("a b", "c")][-2:] == [
        "a b",
        "c",
    ] and "2 lines found more than once, 3 repeats in all" in read.words


def test_thinning_keeps_the_ends_and_every_peak():
    y = np.zeros(10_000)
    y[[3_333, 7_777]] = 5, -5
    kept = drawing.thin(np.linspace(0, 1, 10_000), y, 50)
    assert {0, 3_333, 7_777, 9_999} <= set(kept.tolist()) and len(kept) <= 102 and (np.diff(kept) > 0).all()


def test_a_line_is_broken_where_more_than_a_month_is_missing():
    whole, torn = prices("AA"), prices("AA").take([n for n in range(300) if not 100 <= n < 140])
    strokes = [re.search(r'class="line" d="([^"]*)"', shown(table))[1].count("M") for table in (whole, torn)]
    assert strokes == [1, 2]


@pytest.mark.parametrize(
    "low, high, log", [(0, 1, False), (27, 60, False), (261, 1290, True), (1, 1e6, True), (0.2, 300, True), (1e-9, 2e-9, False)]
)
def test_a_scale_has_two_to_seven_ticks_within_it(low, high, log):
    ticks = drawing.Scale(low, high, log).ticks()
    assert 2 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks)


# --- labelled text ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
@pytest.mark.parametrize("contents", [(), ("",), ("one",), ("", "")])
def test_few_labelled_rows_can_be_shown(task, contents):
    page = shown_as(task, labelled(task, *contents))
    assert Reader(page).open == [] and "nan" not in page


@pytest.mark.parametrize(("task", "column"), [("classify", "text"), ("classify", "label"), ("tag", "tags"), ("translate", "target")])
def test_a_labelled_table_that_lacks_a_column_shows_its_account(task, column):
    page = shown_as(task, labelled(task, "one").drop_columns(column))
    assert "The columns are not those of this task" in page and "10,007" in page


@pytest.mark.parametrize("name", ["evil labels", "evil tags", "evil pairs", "evil captions"])
def test_a_label_a_tag_or_a_text_that_a_spreadsheet_would_run_has_an_apostrophe_before_it(name):
    cells = [cell for cell in Reader(PAGES[name]()).cells if "cmd()" in cell or "SUM(A1)" in cell or "-2+3" in cell]
    assert cells and not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert {"'=cmd()", "'-2+3", "'@SUM(A1)"} <= set(cells)


def test_labels_tags_and_parts_are_counted():
    found = profiles.of_labelled(
        labelled("tag", "a b", "a", "a", "c", labels=["x", "y", "x", "x"], part=["train", "train", "test", "test"]), "tag"
    )
    assert found.labels == {"x": {"train": 1, "test": 2}, "y": {"train": 1, "test": 0}}
    assert found.tags == {"a": 3, "b": 1, "c": 1} and found.parts == {"train": 2, "test": 2}
    assert found.repeated == {"a": 2} and found.contradicted == {"a": {"y": 1, "x": 1}} and found.across == [("train", "test", 1)]
    assert found.sides["text"].per_document.tolist() == [2, 1, 1, 1]


def test_what_a_person_should_read_first_is_said():
    table = labelled("classify", "a b", "a b", "a b", "c", labels=["x", "y", "x", "z"], part=["train", "train", "test", "test"])
    words = Reader(shown_as("classify", table)).words
    for said in (
        "50.0\u00a0% of the rows are x",
        "2 rows (50.0\u00a0%) repeat the text of an earlier one",
        "1 text with more than one label",
        "1 row of test with a text of train: it is dropped from train, not from test",
        "1 label never in train",
    ):
        assert said in words, said


def test_captions_are_shown_beside_their_numbers_and_told_by_them():
    table = captioned("a b", "c", "d e", "f", part=["train", "train", "test", "test"])
    found = profiles.of_labelled(table, "caption")
    assert found.numbers == {"=cmd()": (1, 3, 2, 1), "still": (0.1, 0.1, pytest.approx(0.1), pytest.approx(0))}
    assert found.repeated == {"row 1": 2, "row 2": 2} and found.across == [("train", "test", 2)]
    words = Reader(shown_as("caption", table)).words
    for said in (
        "2 columns of numbers. 1 column never moving",
        "2 rows of test with a vector of train",
        "2 rows (50.0\u00a0%) repeat the vector",
    ):
        assert said in words, said
    assert profiles.of_labelled(table.drop_columns("caption"), "caption") is None


@pytest.mark.parametrize("contents", [(), ("",), ("one",)])
def test_few_captions_can_be_shown(contents):
    page = shown_as("caption", captioned(*contents))
    assert Reader(page).open == [] and "nan" not in page


def test_rows_whose_files_say_no_part_are_said_to_be_shuffled():
    assert "cut by a shuffle" in shown_as("classify", labelled("classify", "one", "two"))
    assert "cut by a shuffle" not in shown_as("classify", labelled("classify", "one", "two", part=["train", "test"]))


# --- size, and the stage ----------------------------------------------------------------------


def test_half_a_million_rows_make_a_page_of_less_than_300_kb():
    random, own = np.random.default_rng(0), days(date(2013, 2, 8), 1238)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, (500, len(own))), axis=1)).ravel()
    names = np.repeat([f"T{n:03}" for n in range(500)], len(own))
    columns = [
        names,
        own * 500,
        close,
        close * 1.01,
        close * 0.99,
        close,
        pa.nulls(len(close), pa.float64()),
        random.integers(0, 10**7, len(close)),
    ]
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
    file = ACCOUNT["files"][1] | {"read_as": {"layout": "one ticker", "encoding": "utf-8", "dates": "year-month-day", "tickers": 1}}
    account = ACCOUNT | {"files": [file | {"name": f"T{n:03}.csv"} for n in range(500)]}
    assert table.num_rows == 619_000
    assert len(shown(table, account).encode()) < 300_000


def test_the_stage_writes_the_page_beside_data_docs_with_a_link_each_way(tmp_path):
    found = embedded.load("goog")
    with storage.new_artefact(tmp_path / "data/ingestion/goog") as folder:
        storage.write_table(folder / "table.parquet", found.table)
        storage.write_json(folder / "account.json", ACCOUNT)
        storage.write_bytes(folder / "quarantine/AA.csv.a1b2c3d4.jsonl", storage.canonical_json({"raw": "=1"}).replace(b"\n", b"") + b"\n")
    stage.run(tmp_path, "goog", PARAMS)
    place = tmp_path / "data/validation/goog"
    page = (place / "quality.html").read_text()
    assert "1,047 rows" in page and "No session is missing." in page and "<code>'=1</code>" in page
    assert 'href="index.html"' in page and 'href="quality.html"' in (place / "index.html").read_text()


def test_the_calendar_that_ingestion_found_is_the_one_that_is_shown():
    held = [len(stage._sessions(prices("AA"), calendar)) for calendar in ("XNYS", "XTAI")]
    assert held[0] == 300 != held[1]


def test_an_account_of_many_kinds_is_cut_and_says_so():
    kinds = [{"what": f"kind {n}", "count": 1, "line": n} for n in range(150)]
    files = [{"name": f"{n}.csv", "read_as": {"delimiter": str(n)}} for n in range(20)] + [{"name": "z.csv", "warnings": kinds}]
    page = shown(prices("AA"), NOTHING | {"files": files})
    assert "100 of 150 kinds" in page and "kind 99<" in page and "kind 100<" not in page and "10 more ways of reading" in page
