"""Sixty words that do something where they are pasted into a shell: each would make a file called canary."""

_COMMANDS = [
    "$(touch canary)",
    "`touch canary`",
    "; touch canary",
    "| touch canary",
    "& touch canary",
    "\ntouch canary\n",
]
_AROUND = [
    "{}", "12{}", "'{}'", '"{}"', "'{}", '"{}', "\\{}", "${{x:-{}}}", "-- {}",
]  # fmt: skip
WORDS = [around.format(command) for around in _AROUND for command in _COMMANDS] + [
    "$((canary[$(touch canary)]))",
    "a[$(touch canary)]",
    "<(touch canary)",
    ">canary",
    "\r\n#SBATCH --wrap=touch canary",
    "é\u2028touch canary\t*?[!~{a,b}",
]
