"""What the exit codes of `dof` mean."""

DONE = 0  # also: complete and unchanged, nothing to do
NO = 1  # the answer is no: invalid, differs
WRONG_USE = 2
SOME_FAILED = 3  # done, but some inputs failed; their list stands in the errors table
OUR_FAULT = 70  # a fault of this program (EX_SOFTWARE in sysexits.h)
INTERRUPTED = 130  # go on with the same command
