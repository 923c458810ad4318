"""What a site has in invenio.cfg, with everything that turns up in such files."""
import os
from site_helpers import (
    format_commons_search_payload,  # it's "here"
)

SITE_UI_URL = os.getenv("SITE", 'https://x.org')
PATTERN = r'\w+"{'
TEXT = f"{PATTERN!r:>{10}} {{no}} {os.environ['A']}"

def payload(x: dict = {}) -> dict:
    return {**x, "a": [i for i in x]}

REMOTE_API_PROVISIONER_EVENTS: dict[str, dict] = {
    'rdm_record': {
        "https://search.example.org" "/v1/" + "documents": {
            "publish": {
                "http_method": lambda identity, record=None, **kwargs: (
                    "PUT" if record.get("custom_fields", {}).get("id") else "POST"
                ),
                "with_record_owner": True,
                "payload": format_commons_search_payload,
                "callback": record_commons_search_id,
                "auth_token": os.getenv("COMMONS_API_TOKEN"),
                "timing_field": "kcr:commons_search_updated",
            },
            "delete_record": {
                "method": "delete",
                "payload": None,
                "url_factory": lambda identity, record, **kwargs: (
                    "https://search.example.org/v1/documents/"
                    f"{record['custom_fields']["kcr:id"]}"
                ),
                "headers": {"X-Secret": TOKEN, "X-Plain": "yes"},
                "payload_format": "json",
                "retry": 5,
            },
            **MORE_METHODS,
        },
        f"{SITE_UI_URL}/hooks": {
            "create": {
                "http_method": "POST",
                "payload": {
                    "kind": "created",
                    "price": "$5",
                    "id": "$.record.id",
                    "n": [1, -2.50, 0x10, 1_000, True, None, ("a", "b"), (), compute(1, 2)],
                    "text": "caf\u00e9 \N{BULLET}",
                    "more": {k: v for k, v in x},
                    1: "one",
                },
                "when": None,
            },
            "edit": {"http_method": "POST"},
            "edit": {"http_method": "PUT", "payload": {},},
        },
    },
    "community": {
        "https://search.example.org/v1/documents": {
            "update": {"http_method": "PUT", "url_factory": None, "auth_token": "s3cret"},
        },
    },
}
REMOTE_API_PROVISIONER_EVENTS["rdm_record"].update(OTHERS)
