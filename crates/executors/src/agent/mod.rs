//! Agent CLIs as data: how to call one, how to read what it says. It does not know processes, pipes or runs.
