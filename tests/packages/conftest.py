"""Packages of strangers: their tests run where they are installed (see test_third_adapter), not among ours."""

collect_ignore_glob = ["*"]
