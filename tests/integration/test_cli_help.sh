# help, man pages and completions are there and well-formed for every command.
. "$(dirname "$0")/lib.sh"

silent fabric help
cp .out overview
silent fabric --help
cmp overview .out || fail "--help differs from help"
silent fabric version
grep -qE '^fabric [0-9]+\.[0-9]+' .out || fail "version"
silent fabric --version
grep -qE '^fabric [0-9]+\.[0-9]+' .out || fail "--version"
silent fabric version --json
json '.version | test("^[0-9]+[.][0-9]+")' true
silent fabric put --version

silent fabric help --names
cp .out names
[[ $(wc -l <names) -ge 20 ]] || fail "few commands"
while read -r name; do
    # shellcheck disable=SC2086
    silent fabric help $name
    cp .out help
    [[ $(head -n 1 help) == "Usage: fabric $name"* ]] || fail "help $name begins otherwise"
    [[ $(awk 'length > 100' help | wc -l) == 0 ]] || fail "help $name has long lines"
    grep -q ' $' help && fail "help $name has blanks at the end of a line"
    # shellcheck disable=SC2086
    silent fabric $name --help
    cmp help .out || fail "$name --help differs from help $name"
    # shellcheck disable=SC2086
    silent fabric $name -h
    # shellcheck disable=SC2086
    silent fabric help --man $name
    cp .out page.1
    grep -q '^\.SH NAME' page.1 || fail "man page of $name"
    if command -v man >/dev/null; then
        warnings=$(man --warnings -E UTF-8 -l -Tutf8 -Z page.1 2>&1 >/dev/null)
        eq '' "$warnings" "warnings of man for $name"
    fi
    # Every option of the help is in the page, and the other way round.
    eq "$(grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' help | grep -oE -- '--[a-z-]+' | sort -u)" \
        "$(sed 's/\\-/-/g' page.1 | grep -oE '^(.fB-[a-zA-Z].fR, )?.fB--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u)" \
        "options in help and man page of $name"
done <names
silent fabric help --man
grep -q 'put' .out || fail "man page of fabric"
refuses 2 'frobnicate' fabric help frobnicate
refuses 2 'put frob' fabric help put frob

# Help needs no home and makes none.
[[ ! -e $FABRIC_HOME ]] || fail "help made a home"

# Completions.
silent fabric completion bash
cp .out c.bash
bash -n c.bash || fail "the bash completion does not parse"
complete_words()
{
    bash -c '
        source ./c.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _fabric
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}
complete_words fabric pu | grep -qx put || fail "completion of a command"
complete_words fabric pin a | grep -qx add || fail "completion of a sub-command"
complete_words fabric put --ch | grep -qx -- --chunker || fail "completion of an option"
complete_words fabric --home x put --wr | grep -qx -- --wrap || fail "completion after a global option"
complete_words fabric completion f | grep -qx fish || fail "completion of a shell"
silent fabric completion zsh
if command -v zsh >/dev/null; then
    zsh -n .out || fail "the zsh completion does not parse"
fi
silent fabric completion fish
if command -v fish >/dev/null; then
    fish -n .out || fail "the fish completion does not parse"
fi
refuses 2 'tcsh' fabric completion tcsh

# Every command has --json in its help; those that print text also obey it (see the other tests).
while read -r name; do
    # shellcheck disable=SC2086
    fabric help $name | grep -q -- '--json' || [[ $name == pin || $name == block || $name == car || -z $(fabric help $name | grep -i 'options') ]] ||
        fail "$name has no --json"
done <names
exit 0
