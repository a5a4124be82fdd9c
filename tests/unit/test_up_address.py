"""Do events have a link where everything runs on one machine, and is it left alone elsewhere?"""

import pytest

from superimap.launch.up import addressed
from tests.support.api import settings_for

DATABASE = "postgresql://nobody@127.0.0.1/nothing"


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "http://127.0.0.1:8001"), ("::1", "http://[::1]:8001")]
)
def test_on_loopback_links_lead_to_the_api_itself(host, address):
    assert addressed(settings_for(DATABASE, host=host, port=8001)).base_url == address


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({"base_url": "https://superimap.example.com"}, "https://superimap.example.com"),
        ({"host": "0.0.0.0"}, ""),
        ({"trusted_proxies": "10.0.0.0/8"}, ""),
        ({"environment": "production"}, ""),
    ],
)
def test_who_may_be_reached_otherwise_is_left_alone(values, address):
    assert addressed(settings_for(DATABASE, **values)).base_url == address
