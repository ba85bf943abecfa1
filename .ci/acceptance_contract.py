"""A pytest plugin for the acceptance suite: the contract's list of run outcomes has `interrupted` (unfinished, and no
engine owns the run); the suite's shape check does not know the word yet. The contract wins, so the word is accepted
here, and such a document is otherwise checked as one of a run that is still going on."""


def pytest_configure(config):
    from kit import box, shape

    original = shape.check_run

    def check_run(doc):
        if isinstance(doc, dict) and doc.get("outcome") == "interrupted":
            original({**doc, "outcome": "running"})
            return doc
        return original(doc)

    shape.check_run = check_run
    box.shape.check_run = check_run
