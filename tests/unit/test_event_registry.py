"""The registry of events: complete, and the same as the tables of docs/webhooks.md."""

from pathlib import Path

import pytest

from superimap.domain.events import (
    EVENT_FIELDS,
    EVENTS,
    EventDefinition,
    EventName,
    UserEventKind,
    event_name,
    recorded_events_description,
)

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def test_every_event_name_and_every_stored_kind_has_exactly_one_definition():
    assert list(EVENTS) == list(EventName)
    assert sorted(event_name(kind) for kind in UserEventKind) == sorted(
        event.name for event in EVENTS.values() if event.recorded_as is not None
    )


def test_every_field_of_an_event_is_described():
    assert {field for event in EVENTS.values() for field in event.fields} == EVENT_FIELDS.keys()


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_webhooks_page_has_the_row_of_the_event(event: EventDefinition):
    assert f"| `{event.name}` | {event.sent_when} | {listed(list(event.fields))} |" in PAGE


@pytest.mark.parametrize("field", EVENT_FIELDS)
def test_webhooks_page_has_the_row_of_the_field(field: str):
    events = [event.name for event in EVENTS.values() if field in event.fields]

    assert f"| `{field}` | {listed(events)} | {EVENT_FIELDS[field]} |" in PAGE


def test_api_description_has_one_sentence_for_each_recorded_event():
    text = recorded_events_description()

    assert all(f"`{kind}`: {EVENTS[event_name(kind)].sent_when}." in text for kind in UserEventKind)
