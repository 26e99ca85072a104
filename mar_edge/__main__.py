"""`python -m mar_edge` is `mar-edge`; the modules of the working folder, which Python puts first, are not used."""

from mar_edge.child_process import leave_working_folder

leave_working_folder()

from mar_edge.cli.main import main  # noqa: E402

main()
