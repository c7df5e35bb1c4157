//! Captured frames: bytes to layers, one line of text, and the capture filter.
