"""The version; CHANGELOG.md says what each of its digits means."""

VERSION = "0.1.0"
