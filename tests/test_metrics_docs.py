"""Every example of the documentation is run and gives what the page says."""

import doctest
import re

import pytest
import sacrebleu

from nmt.metrics import METRICS
from nmt.version import VERSION

RUNNER = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)


@pytest.fixture
def page(repository):
    return (repository / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_examples_give_what_the_page_says(page):
    source = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    source = re.sub(r"version:nmt-[\w.]+", f"version:nmt-{VERSION}", source)  # a release changes no definition
    source = re.sub(r"version:\d[\w.]+", f"version:{sacrebleu.__version__}", source)
    examples = doctest.DocTestParser().get_doctest(source, {}, "metrics.md", "metrics.md", 0)
    assert len(examples.examples) > 40
    results = RUNNER.run(examples)
    assert results.failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_on_the_page(page, name):
    assert f"`{name}`" in page
