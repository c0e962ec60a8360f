"""An exported file is one that the tool can import."""

from hypothesis import given
from hypothesis import strategies as st

from handler.domain.audience import Audience, Catalogue
from handler.domain.change_messages import Change
from handler.domain.membership import PersonState, is_member, stamp
from handler.domain.update import Identifier
from handler.table.people import Page
from ops.change_files import ChangeFile
from ops.change_rows import OLDEST_JOIN_S, Defaults
from ops.exports import WRITERS, Selection, export
from tests.builders import NOW_MS

HASH = "ab" * 32
AUDIENCE_ID = 0
DEFAULTS = Defaults(as_of_ms=1, now_ms=NOW_MS)

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=20).map(str.strip)
identifiers = st.builds(
    Identifier, is_id=st.booleans(), set_at_ms=st.just(1), value=texts.filter(bool)
)
stamps = st.builds(
    stamp, st.integers(NOW_MS - OLDEST_JOIN_S * 1000, NOW_MS), removed=st.booleans()
)


@given(suffix=st.sampled_from([*WRITERS]), identifier=identifiers, name=texts, newest=stamps)
def test_what_is_exported_is_imported_unchanged(
    tmp_path_factory, suffix, identifier, name, newest
) -> None:
    state = PersonState(1, identifier=identifier, memberships={AUDIENCE_ID: newest})
    catalogue = Catalogue(1, {AUDIENCE_ID: Audience(name)})
    selection = Selection("site-a", catalogue, audience_ids=None, reveal=True)
    path = tmp_path_factory.getbasetemp() / f"export{suffix}"

    with path.open("wb") as file:
        write = WRITERS[suffix](file, selection.columns)
        export([Page({f"site-a#{HASH}": state}, 1, None)], selection, write)
    (row,) = ChangeFile.open(path).rows(DEFAULTS)

    assert row.content == Change(
        at_ms=newest >> 1,
        audience_id=AUDIENCE_ID,
        audience_name=name,
        is_member=is_member(newest),
        identities={"customer" if identifier.is_id else "email": identifier.value},
        person_hash=HASH,
    )
