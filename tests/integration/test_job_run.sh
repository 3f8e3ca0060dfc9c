# job run: streams, exit codes, inputs, /out, the memo table, records.
source "$(dirname "$0")/lib.sh"

# ---- streams, exit codes, -q, --json
ok fabric job run -- sh -c 'echo to-stdout; echo to-stderr >&2; echo kept >f'
eq to-stdout "$(cat .out)" stdout
grep -qx to-stderr .err || fail "the job's stderr is not shown"
cid=$(sed -n 's/^result //p' .err)
[[ -n $cid ]] || fail "no result line"
eq kept "$(fabric cat "$cid/f")" "the file in /out"
eq "$cid" "$(fabric job run -q --no-cache -- sh -c 'echo to-stdout; echo to-stderr >&2; echo kept >f')" "-q"
ok fabric job run -q --no-cache -- sh -c 'echo a; echo b >&2'
[[ ! -s .err ]] || fail "-q shows the job's stderr"

for code in 0 1 3 77 255; do exits $code fabric job run -- sh -c "exit $code"; done
exits 127 fabric job run -- no-such-command
exits 126 fabric job run -- /etc/passwd
exits 137 fabric job run -- sh -c 'kill -KILL $$'
exits 143 fabric job run -- sh -c 'kill -TERM $$'
exits 134 fabric job run -- sh -c 'kill -ABRT $$'
exits 139 fabric job run -- sh -c 'kill -SEGV $$'
exits 2 fabric job run
exits 2 fabric job run --network bridge -- true
exits 2 fabric job run --detach -- true
exits 125 fabric job run --gpu 63 -- true
exits 125 fabric job run --gpu-memory 1G -- true
exits 125 fabric job run --env novalue -- true

exits 5 fabric job run --json -- sh -c 'echo noise; echo log >&2; exit 5'
eq 1 "$(wc -l <.out)" "--json is one value"
eq 5 "$(jq .exit .out)"
eq noise "$(fabric cat "$(jq -r .stdout .out)")" "the stdout CID"
eq log "$(fabric cat "$(jq -r .stderr .out)")" "the stderr CID"
eq "$(jq -r .out .out)" "$(fabric block get "$(jq -r .result .out)" >/dev/null && jq -r .out .out)"

# Output is there while the job runs.
fabric job run -- sh -c 'echo first; sleep 3; echo second' >live 2>/dev/null &
pid=$!
for _ in $(seq 25); do grep -q first live && break; sleep 0.1; done
grep -q first live || fail "output is not streamed"
grep -q second live && fail "the test is too slow to tell"
wait $pid

# 2 MiB of output: more than one chunk, nothing lost.
ok fabric job run --json -- sh -c 'head -c 2097152 /dev/zero | tr "\0" x; head -c 70000 /dev/zero | tr "\0" y >&2'
eq 2097152 "$(fabric cat "$(jq -r .stdout .out)" | wc -c)" "a long stdout"

# A reader that goes away ends the job.
fabric job run -- sh -c 'while :; do echo y; done' 2>/dev/null | head -1 >/dev/null
eq 141 "${PIPESTATUS[0]}" "a closed pipe"

# ---- environment and working directory
ok env SECRET=1 "$FABRIC_BIN/fabric" job run --env A=1 --env 'B=two words' -- sh -c 'echo "$A|$B|$SECRET|$HOME"; pwd'
eq '1|two words||/tmp' "$(sed -n 1p .out)" "the environment"
eq /out "$(sed -n 2p .out)" "the working directory"

# ---- inputs
mkdir -p in/sub
echo A >in/a; echo hidden >in/.h; echo S >in/sub/s; chmod 755 in/a
in=$(fabric put -q in)
ok fabric job run --input d=in --input c="$in/sub/s" --input f=in/a -- \
    sh -c 'cat /in/d/a /in/d/.h /in/d/sub/s /in/c /in/f; test -x /in/d/a'
eq 'A hidden S S A' "$(tr '\n' ' ' <.out | sed 's/ $//')" "the inputs"
exits 125 fabric job run --input d=nothing-here -- true
exits 125 fabric job run --input ../d=in -- true
exits 125 fabric job run --input d=in --input d=in -- true
exits 125 fabric job run --input nameless -- true
exits 125 fabric job run --input d=bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq -- true
# One copy on disk, however many jobs use it.
ok fabric job run --input other="$in" -- true
eq 1 "$(find "$FABRIC_HOME/cache/in" -maxdepth 1 -name "*-$in*" ! -name '*.lock' | wc -l)" "cached copies"
# Content that changes is another input.
echo B >in/a
ok fabric job run --input d=in --input c="$in/sub/s" --input f=in/a -- cat /in/f
eq B "$(cat .out)"

# ---- /out: modes and hidden entries, no times
cid=$(fabric job run -q -- sh -c 'echo x >.hid; chmod 640 .hid; echo y >exe; chmod 755 exe; mkdir d; ln -s exe link')
sleep 1.1
again=$(fabric job run -q --no-cache -- sh -c 'echo x >.hid; chmod 640 .hid; echo y >exe; chmod 755 exe; mkdir d; ln -s exe link')
eq "$cid" "$again" "/out does not depend on the time"
ok fabric get "$cid" -o got
eq 640 "$(stat -c %a got/.hid)" "the mode of a hidden file"
eq 755 "$(stat -c %a got/exe)" "the mode of a program"
eq exe "$(readlink got/link)" "a symlink"
[[ -d got/d ]] || fail "an empty folder is lost"

# What cannot be stored is left out, or the job has failed; its logs and its record are there in any case.
ok fabric job run --no-cache -- sh -c 'echo kept >f; mkfifo p d; mkdir e; mkfifo e/q'
grep -q '3 fifos, sockets and devices in /out were left out' .err || fail "no word about what was left out"
cid=$(sed -n 's/^result //p' .err)
eq 'e f' "$(fabric ls -q "$cid" >/dev/null; fabric get -q "$cid" -o without >/dev/null; ls without | tr '\n' ' ' | sed 's/ $//')"
exits 125 fabric job run --no-cache -- sh -c 'echo said; i=0; while [ $i -lt 130 ]; do mkdir d; cd d; i=$((i+1)); done'
grep -q '/out cannot be stored' .err || fail "no reason: $(cat .err)"
id=$(fabric job ls --json | jq -r '.[0].id')
eq 'failed 125 said' "$(fabric job show --json "$id" | jq -r '"\(.state) \(.exit)"') $(fabric job logs "$id" 2>/dev/null)"

# ---- the output, whoever reads it
fabric job run --no-cache --timeout 6s -- seq 1 300000 2>/dev/null | (sleep 7; wc -c) >slow
eq 1988895 "$(cat slow)" "all output arrives at a slow reader"
fabric job run --no-cache --disk 20M -- sh -c 'head -c 300000 /dev/zero; i=0; while [ $i -lt 60 ]; do head -c 4M /dev/zero >f$i; i=$((i+1)); sleep 0.05; done' 2>err.disk | (sleep 6; cat >/dev/null)
eq 137 "${PIPESTATUS[0]}" "the disk limit holds while nobody reads the output"
to_full() { "$@" >/dev/full; }
exits 125 to_full fabric job run --no-cache -- sh -c 'echo lost; sleep 0.3; echo done >r'
grep -q '^fabric: standard output: No space left on device' .err || fail "no word about the output: $(cat .err)"
eq 'done lost' "$(fabric cat "$(sed -n 's/^result //p' .err)/r") $(fabric job logs "$(fabric job ls --json | jq -r '.[0].id')")"

# ---- another workspace's content is not there, though it is unpacked
private=$(echo private >private && fabric put -q private)
ok fabric job run --input p="$private" -- cat /in/p
refuses 1 'not in the workspace|no workspace' fabric --workspace other cat "$private"
exits 125 fabric --workspace other job run --input p="$private" -- cat /in/p
[[ ! -s .out ]] || fail "a job read what only another workspace has"

# ---- the memo table
ok fabric job run -- sh -c 'echo once; date +%N'
cp .out first
ok fabric job run -- sh -c 'echo once; date +%N'
cmp -s first .out || fail "the job ran again"
grep -q remembered .err || fail "no remark that it is remembered"
eq true "$(fabric job run --json -- sh -c 'echo once; date +%N' | jq .remembered)"
ok fabric job run --no-cache -- sh -c 'echo once; date +%N'
cmp -s first .out && fail "--no-cache did not run it"
ok fabric job run --env X=1 -- sh -c 'echo once; date +%N'
cmp -s first .out && fail "another environment is another action"
ok fabric --workspace other job run -- sh -c 'echo once; date +%N'
cmp -s first .out && fail "another workspace does not remember it"
exits 1 fabric job run -- sh -c 'date +%N; exit 1'
cp .out first
exits 1 fabric job run -- sh -c 'date +%N; exit 1'
cmp -s first .out && fail "a failure is remembered"
ok fabric job run --network host -- date +%N
cp .out first
ok fabric job run --network host -- date +%N
cmp -s first .out && fail "a networked job is remembered"
# Without its blocks it is not remembered.
ok fabric job run --json -- sh -c 'date +%N >f'
id=$(jq -r .id .out) out=$(jq -r .out .out)
ok fabric job rm "$id"
ok fabric gc
ok fabric job run -q -- sh -c 'date +%N >f'
[[ $out != $(cat .out) ]] || fail "a result without blocks was given"

# ---- limits
exits 124 fabric job run --timeout 400ms -- sleep 20
grep -q 'time limit' .err || fail "no word about the time limit"
start=$(date +%s%N)
exits 124 fabric job run --timeout 1s -- sh -c '(setsid sh -c "trap \"\" TERM HUP; sleep 60" &) ; sleep 60'
(($(date +%s%N) - start < 5000000000)) || fail "a time limit was outlived"
exits 137 fabric job run --disk 20M -- sh -c 'i=0; while :; do head -c 1M /dev/zero >f$i; i=$((i+1)); sleep 0.05; done'
grep -q 'disk limit' .err || fail "no word about the disk limit"
ok fabric job run --disk 4M -- sh -c 'head -c 8M /dev/zero >f 2>/dev/null; test $(stat -c %s f) -le 4194304'

# ---- records
ok fabric job run --json --name named --priority 7 -- sh -c 'echo one; echo two >&2; echo three >r'
id=$(jq -r .id .out) out=$(jq -r .out .out)
ok fabric job show --json "$id"
eq 'named done 0 7' "$(jq -r '"\(.name) \(.state) \(.exit) \(.priority)"' .out)"
eq sh "$(jq -r '.description.command[0]' .out)"
ok fabric job show "$id"
eq "$out" "$(sed -n 's/^out *//p' .out)"
ok fabric job logs "$id"
eq one "$(cat .out)"; eq two "$(cat .err)"
ok fabric job ls
grep -q "$id.*named" .out || fail "job ls does not list it"
ok fabric gc
eq three "$(fabric cat "$out/r")" "a record keeps its output"
ok fabric job rm "$id"
exits 1 fabric job show "$id"
ok fabric gc
exits 1 fabric cat "$out/r"
# What the user has pinned stays.
ok fabric job run --json -- sh -c 'echo precious >p'
id=$(jq -r .id .out) out=$(jq -r .out .out)
ok fabric pin add --name mine "$out"
ok fabric job rm "$id"
ok fabric gc
eq precious "$(fabric cat "$out/p")" "a pin of the user"
exits 1 fabric job show zzzz

# ---- nothing is left
[[ -z $(ls "$FABRIC_HOME/jobs") ]] || fail "attempts are left: $(ls "$FABRIC_HOME/jobs")"
echo ok
