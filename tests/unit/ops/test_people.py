"""Keys of a person, and what would be sent of them."""

from handler.domain.audience import Audience, Catalogue
from handler.domain.audience_attributes import AudienceAttributes
from handler.domain.options import DeliveryOptions
from handler.domain.update import Identifier
from ops.people import Query, would_be_sent
from tests.builders import state


def test_each_kind_of_query_has_a_key_of_its_own() -> None:
    queries = [Query("42"), Query(email="Ann@Example.com"), Query(mpid=-7)]

    assert len({key for query in queries for key in query.keys(["s"])}) == 3


def test_an_email_is_compared_in_lower_case() -> None:
    assert Query(email="Ann@E.com").keys(["s"]) == Query(email="ann@e.com").keys(["s"])


def test_customer_io_knows_a_customer_id_and_an_email_and_no_mpid() -> None:
    assert Query("42").identifier == Identifier(is_id=True, set_at_ms=0, value="42")
    by_email = Identifier(is_id=False, set_at_ms=0, value="ann@e.com")
    assert Query(email="Ann@E.com").identifier == by_email
    assert Query(mpid=-7).identifier is None


def sent(known, **options):
    catalogue = Catalogue(1, {11: Audience("Gold"), 13: Audience("Lapsed")})
    return would_be_sent(known, AudienceAttributes(catalogue, DeliveryOptions(**options)))


def test_what_would_be_sent_has_all_audiences_and_the_newest_timestamp() -> None:
    known = state(11, 12, left=(13,))

    (entity,) = sent(known)

    assert entity["attributes"] == {"SegmentMembership": "'11','12'"}
    assert entity["timestamp"] == known.timestamp


def test_what_would_be_sent_is_as_the_options_say() -> None:
    known = state(11, 12, left=(13,))

    (entity,) = sent(known, one_attribute_per_audience=True, create_people=False)

    assert entity["attributes"] == {
        "SegmentMembership": "'11','12'",
        "In Gold": True,
        "In Lapsed": False,
        "_update": True,
    }


def test_nothing_would_be_sent_of_somebody_who_was_erased() -> None:
    assert sent(state(identifier=None, erased_at_ms=1)) == []
