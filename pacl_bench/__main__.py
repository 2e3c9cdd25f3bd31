"""python -m pacl_bench"""

from pacl_bench.cli import main

main()
