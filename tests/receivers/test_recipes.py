"""The recipes of docs/webhooks.md, run in their languages, accept genuine webhooks and reject forged ones.

tests/test_docs_webhooks.py runs those in Python. The libraries of Standard Webhooks verify the header only.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from superimap.core import crypto
from tests.support import needs
from tests.support.pages import WEBHOOKS, blocks
from tests.support.webhook_examples import API_KEY, OTHER_KEY, OTHER_SECRET, SECRET, webhook

PACKAGES = Path(sys.prefix).with_name(Path(sys.prefix).name + "-receivers") / "node_modules"

# Each program reads cases.json and prints, for each case, its verdict by the header and by the body.
JAVASCRIPT = """
const {isGenuine, isGenuineByApiKey} = require('./recipe.js');
console.log(JSON.stringify(require('./cases.json').map((c) => {
  const raw = Buffer.from(c.raw, 'base64');
  return [isGenuine(c.headers, raw, c.secret), isGenuineByApiKey(JSON.parse(raw), c.key)];
})));
"""
LIBRARY = """
const {Webhook} = require('standardwebhooks');
console.log(JSON.stringify(require('./cases.json').map((c) => {
  try { new Webhook(c.secret).verify(Buffer.from(c.raw, 'base64'), c.headers); return true; }
  catch { return false; }
})));
"""
RUBY = """
require "json"
require_relative "recipe"
puts JSON.generate(JSON.parse(File.read("cases.json")).map { |c|
  raw = Base64.strict_decode64(c["raw"])
  [genuine?(c["headers"], raw, c["secret"]), genuine_by_api_key?(JSON.parse(raw), c["key"])]
})
"""
PHP = """<?php
require 'recipe.php';
echo json_encode(array_map(function ($c) {
    $raw = base64_decode($c['raw']);
    return [
        is_genuine($c['headers'], $raw, $c['secret']),
        is_genuine_by_api_key(json_decode($raw, true), $c['key']),
    ];
}, json_decode(file_get_contents('cases.json'), true)));
"""
GO = """
package main

import (
	"encoding/json"
	"net/http"
	"os"

	"receiver/superimap"
)

type Case struct {
	Headers     map[string]string
	Raw         []byte
	Secret, Key string
}

func main() {
	var cases []Case
	file, _ := os.ReadFile("cases.json")
	if err := json.Unmarshal(file, &cases); err != nil {
		panic(err)
	}
	said := [][]bool{}
	for _, c := range cases {
		header := http.Header{}
		for name, value := range c.Headers {
			header.Set(name, value)
		}
		var body superimap.Body
		if err := json.Unmarshal(c.Raw, &body); err != nil {
			panic(err)
		}
		said = append(said, []bool{
			superimap.IsGenuine(header, c.Raw, c.Secret), superimap.IsGenuineByAPIKey(body, c.Key),
		})
	}
	json.NewEncoder(os.Stdout).Encode(said)
}
"""


def cases() -> list[dict[str, Any]]:
    """Return webhooks, each with keys and whether it is genuine by the header, and by the body."""
    headers, raw = webhook(keys=2)
    old_headers, old_raw = webhook(age=400)
    early_headers, early_raw = webhook(age=-400)
    sha1 = json.loads(raw)["sha1"].encode()
    given = [
        (headers, raw, SECRET, API_KEY, (True, True)),
        (headers, raw, OTHER_SECRET, OTHER_KEY, (True, True)),
        (headers, raw, crypto.generate_signing_secret(), "sip_three", (False, False)),
        # Abuse 31: forged. The signature in the body covers only sha1 and timestamp.
        (headers, raw.replace(sha1, b"0" * 40), SECRET, API_KEY, (False, False)),
        (headers, raw.replace(b"MY_USER", b"NO_USER"), SECRET, API_KEY, (False, True)),
        (headers | {"webhook-id": "msg_" + "0" * 32}, raw, SECRET, API_KEY, (False, True)),
        (headers | {"webhook-signature": "v1,"}, raw, SECRET, API_KEY, (False, True)),
        # Abuse 32: intercepted and sent again later, or dated in the future.
        (old_headers, old_raw, SECRET, API_KEY, (False, False)),
        (early_headers, early_raw, SECRET, API_KEY, (False, False)),
        ({}, raw.replace(b'"timestamp":', b'"stamp":'), SECRET, API_KEY, (False, False)),
    ]
    return [
        {
            "headers": headers,
            "raw": base64.b64encode(raw).decode(),
            "secret": secret,
            "key": key,
            "wanted": list(wanted),
        }
        for headers, raw, secret, key, wanted in given
    ]


def judged(folder: Path, files: dict[str, str], *command: str, **environment: str) -> tuple[Any, Any]:
    """Return a program's verdicts on the cases, and the correct ones."""
    made = cases()
    for name, source in {**files, "cases.json": json.dumps(made)}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout), [case["wanted"] for case in made]


def program(name: str, how: str) -> str:
    """Return the path of an interpreter, or skip the test."""
    return shutil.which(name) or needs(f"{name}, for a recipe of docs/webhooks.md: {how}")


def test_abuse_31_and_32_javascript_rejects_forged_and_old_webhooks(tmp_path):
    files = {"recipe.js": blocks(WEBHOOKS, "javascript")[0], "main.js": JAVASCRIPT}

    said, wanted = judged(tmp_path, files, program("node", "Node.js 18 or newer"), "main.js")

    assert said == wanted


def test_abuse_31_and_32_ruby_rejects_forged_and_old_webhooks(tmp_path):
    files = {"recipe.rb": blocks(WEBHOOKS, "ruby")[1], "main.rb": RUBY}

    said, wanted = judged(tmp_path, files, program("ruby", "apt-get install ruby"), "main.rb")

    assert said == wanted


def test_the_recipe_of_the_original_in_ruby_works_unchanged(tmp_path):
    original = blocks(WEBHOOKS, "ruby")[0]
    around = (
        'require "json"; require "openssl"; require "base64"\n'
        "Request = Struct.new(:raw_post)\n"
        "Config = Struct.new(:super_imap_api_key)\n"
        "App = Struct.new(:config)\n"
        "module Rails; class << self; attr_accessor :application; end; end\n"
        'said = JSON.parse(File.read("cases.json")).map do |c|\n'
        '  request = Request.new(Base64.decode64(c["raw"]))\n'
        '  Rails.application = App.new(Config.new(c["key"]))\n'
        f"  {original}\n"
        "  valid\n"
        "end\n"
        "puts JSON.generate(said)\n"
    )

    said, _ = judged(tmp_path, {"main.rb": around}, program("ruby", "apt-get install ruby"), "main.rb")

    # During a rotation it has only the old key, and it does not check the age of a webhook.
    assert said == [True, False, False, False, True, True, True, True, True, False]


def test_abuse_31_and_32_php_rejects_forged_and_old_webhooks(tmp_path):
    files = {"recipe.php": blocks(WEBHOOKS, "php")[0], "main.php": PHP}

    said, wanted = judged(tmp_path, files, program("php", "apt-get install php-cli"), "main.php")

    assert said == wanted


def test_abuse_31_and_32_go_rejects_forged_and_old_webhooks(tmp_path):
    files = {
        "go.mod": "module receiver\n\ngo 1.19\n",
        "superimap/recipe.go": blocks(WEBHOOKS, "go")[0],
        "main.go": GO,
    }
    go = program("go", "apt-get install golang-go")

    said, wanted = judged(
        tmp_path, files, go, "run", ".", GOFLAGS="-mod=mod", GOPROXY="off", GOTOOLCHAIN="local"
    )

    assert said == wanted


def test_the_javascript_library_of_standard_webhooks_agrees(tmp_path):
    if not (PACKAGES / "standardwebhooks").exists():
        needs(f"the npm package standardwebhooks in {PACKAGES}: python3 run.py test")
    node = program("node", "Node.js 18 or newer")

    said, wanted = judged(tmp_path, {"main.js": LIBRARY}, node, "main.js", NODE_PATH=str(PACKAGES))

    assert said == [by_header for by_header, _ in wanted]


def test_the_python_library_of_standard_webhooks_agrees():
    for case in cases():
        raw = base64.b64decode(case["raw"])
        if case["wanted"][0]:
            assert Webhook(case["secret"]).verify(raw, case["headers"]) == json.loads(raw)
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(case["secret"]).verify(raw, case["headers"])
