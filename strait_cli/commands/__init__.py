"""One module per noun, one function per verb; `APPS` names what each module offers to the tree."""
