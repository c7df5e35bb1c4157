//! Values to text: tables, diagnostics, the layouts of birdc and calicoctl, JUnit.
