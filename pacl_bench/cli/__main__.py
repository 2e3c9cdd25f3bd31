"""python -m pacl_bench.cli"""

from pacl_bench.cli import main

main()
