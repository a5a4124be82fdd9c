"""BASE_URL of `superimap up`: its own address on loopback, unchanged in all other cases."""

import pytest

from superimap.launch.up import with_base_url
from tests.support.api import settings_for

DATABASE = "postgresql://nobody@127.0.0.1/nothing"


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "http://127.0.0.1:8001"), ("::1", "http://[::1]:8001")]
)
def test_on_loopback_links_point_to_the_api_itself(host, address):
    assert with_base_url(settings_for(DATABASE, host=host, port=8001)).base_url == address


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({"base_url": "https://superimap.example.com"}, "https://superimap.example.com"),
        ({"host": "0.0.0.0"}, ""),
        ({"trusted_proxies": "10.0.0.0/8"}, ""),
        ({"environment": "production"}, ""),
    ],
)
def test_base_url_is_unchanged_where_others_may_reach_the_api(values, address):
    assert with_base_url(settings_for(DATABASE, **values)).base_url == address
