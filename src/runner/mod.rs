//! Runs a scenario: executes steps, waits for facts, emits events.
