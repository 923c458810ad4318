"""A check for schemathesis: what is answered to the admin is refused to nobody and to wrong credentials.

Its own ignored_auth asks from one address, and is told to wait (429) after fifty wrong credentials, as it should be. Here each operation is
tried once, from a loopback address of its own.
"""
import itertools

import requests
import schemathesis
from requests.adapters import HTTPAdapter

tried, numbers = set(), itertools.count(2)


class From(HTTPAdapter):
    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)


@schemathesis.check
def refuses_strangers(ctx, response, case):
    sent = response.request
    if not 200 <= response.status_code < 300 or case.operation.label in tried:
        return
    tried.add(case.operation.label)
    number = next(numbers)
    with requests.Session() as session:
        session.mount("http://", From(f"127.0.{number // 250}.{number % 250 + 2}"))
        for login in (None, "Basic YWRtaW46d3Jvbmc=", "Bearer wrong"):
            headers = {k: v for k, v in sent.headers.items() if k.lower() != "authorization"}
            if login:
                headers["Authorization"] = login
            status = session.request(sent.method, sent.url, headers=headers, data=sent.body, allow_redirects=False, timeout=60).status_code
            assert status == 401, f"{case.operation.label} answers {status} to {login}"
