//! A scenario file: raw → steps, expectations, and the verdict of comparing what was expected with what was found.
