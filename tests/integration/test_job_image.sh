# image import and job run --image: docker save and OCI, whiteouts, hostile archives.
source "$(dirname "$0")/lib.sh"
BUSYBOX=$(command -v busybox) || { echo "SKIP: needs busybox-static"; exit 77; }
file -L "$BUSYBOX" 2>/dev/null | grep -q 'statically' || ldd "$BUSYBOX" 2>&1 | grep -q 'not a dynamic' ||
    { echo "SKIP: needs busybox-static"; exit 77; }

# Three layers: the base, one that takes away and replaces, one that makes a folder opaque.
mkdir -p l1/bin l1/etc l1/data/old l1/keep l2/data l2/etc l3/data
cp "$BUSYBOX" l1/bin/busybox
for a in sh ls cat echo id env pwd test; do ln -s busybox l1/bin/$a; done
echo base >l1/etc/name; echo gone >l1/data/gone; echo stays >l1/data/stays; echo o >l1/data/old/o
echo k >l1/keep/k; chmod 4755 l1/bin/busybox; ln l1/keep/k l1/keep/hard
: >l2/data/.wh.gone; echo layer2 >l2/etc/name; : >l2/.wh.keep
: >l3/data/.wh..wh..opq; echo fresh >l3/data/fresh
for i in 1 2 3; do tar -C l$i -cf l$i.tar --owner=0 --group=0 .; done
cat >config.json <<J
{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","FROM=image"],"WorkingDir":"/data","Entrypoint":["/bin/false"]},
 "rootfs":{"type":"layers","diff_ids":[]}}
J

# ---- docker save
mkdir save
for i in 1 2 3; do mkdir save/l$i; cp l$i.tar save/l$i/layer.tar; done
cp config.json save/c.json
echo '[{"Config":"c.json","RepoTags":["test/app:1"],"Layers":["l1/layer.tar","l2/layer.tar","l3/layer.tar"]}]' >save/manifest.json
tar -C save -cf save.tar .
gzip -k save.tar
ok fabric image import -q save.tar
image=$(cat .out)
eq "$image" "$(fabric image import -q save.tar.gz)" "the same from a compressed archive"
eq "$image" "$(fabric image import -q save)" "the same from a directory"
ok fabric image ls
grep -q "$image.*test/app:1" .out || fail "image ls does not list it"
ok fabric job run --image "$image" -- sh -c 'cat /etc/name; ls -a /data; echo $FROM; pwd; test -e /keep && echo kept; ls -l /bin/busybox'
eq layer2 "$(sed -n 1p .out)" "a file of an upper layer"
eq '. .. fresh' "$(sed -n 2,4p .out | tr '\n' ' ' | sed 's/ $//')" "whiteouts"
eq image "$(sed -n 5p .out)" "the image's environment"
eq /data "$(sed -n 6p .out)" "the image's working directory"
grep -q kept .out && fail "a folder was not taken away"
grep -q 'rws' .out && fail "a setuid bit was kept"
exits 1 fabric job run --image "$image" -- sh -c 'echo x >/data/x'
ok fabric job run --image "$image" --env FROM=me --input i=config.json -- sh -c 'echo $FROM; cat /in/i >/out/c; echo t >/tmp/t'
eq me "$(cat .out)"
exits 127 fabric job run --image "$image" -- python3
ok fabric job run --image "$image" -- sh -c 'cat /etc/name'
ok fabric gc
ok fabric job run --no-cache --image "$image" -- sh -c 'cat /etc/name'

# ---- OCI, as tar with gzip and zstd layers; and its tree by CID
blob()
{
    local digest
    digest=$(sha256sum <"$1" | cut -c1-64)
    cp "$1" "oci/blobs/sha256/$digest"
    echo "{\"mediaType\":\"$2\",\"digest\":\"sha256:$digest\",\"size\":$(stat -c %s "$1")}"
}
mkdir -p oci/blobs/sha256
gzip -kf l1.tar l3.tar; zstd -q -f l2.tar 2>/dev/null || cp l2.tar l2.tar.zst
layers=$(blob l1.tar.gz application/vnd.oci.image.layer.v1.tar+gzip),$(blob l2.tar.zst application/vnd.oci.image.layer.v1.tar+zstd),$(blob l3.tar.gz application/vnd.oci.image.layer.v1.tar+gzip)
echo "{\"schemaVersion\":2,\"config\":$(blob config.json application/vnd.oci.image.config.v1+json),\"layers\":[$layers]}" >m.json
echo "{\"schemaVersion\":2,\"manifests\":[$(blob m.json application/vnd.oci.image.manifest.v1+json)]}" >oci/index.json
echo '{"imageLayoutVersion":"1.0.0"}' >oci/oci-layout
tar -C oci -cf oci.tar .
eq "$image" "$(fabric image import -q oci.tar)" "the same image from OCI"
tree=$(fabric put -q oci)
ok fabric job run --image "$tree" -- cat /etc/name
eq layer2 "$(cat .out)" "an OCI layout by CID"
rootfs=$(fabric put -q --preserve l1)
ok fabric job run --image "$rootfs" -- /bin/cat /etc/name
eq base "$(cat .out)" "a root file system by CID"
exits 125 fabric job run --image "$(fabric put -q config.json)" -- true

# A layer that does not have its hash.
first=$(sha256sum <l1.tar.gz | cut -c1-64)
cp -r oci broken; echo x >>broken/blobs/sha256/$first
refuses 1 'hash' fabric image import broken

# ---- hostile archives leave nothing outside, and no image
hostile()
{
    rm -rf evil; mkdir evil
    cp config.json evil/c.json; mv "$1" evil/layer.tar
    echo '[{"Config":"c.json","RepoTags":null,"Layers":["layer.tar"]}]' >evil/manifest.json
}
before=$(fabric image ls -q | wc -l)
python3 - <<'P'
import tarfile, io
def make(name, *entries):
    with tarfile.open(name, "w") as t:
        for path, kind, value in entries:
            i = tarfile.TarInfo(path); i.mode = 0o644
            if kind == "f": i.size = len(value); t.addfile(i, io.BytesIO(value))
            if kind == "l": i.type = tarfile.SYMTYPE; i.linkname = value; t.addfile(i)
            if kind == "h": i.type = tarfile.LNKTYPE; i.linkname = value; t.addfile(i)
            if kind == "d": i.type = tarfile.DIRTYPE; i.mode = 0o755; t.addfile(i)
            if kind == "c": i.type = tarfile.CHRTYPE; i.devmajor = 1; i.devminor = 3; t.addfile(i)
make("dotdot.tar", ("../../../../evil1", "f", b"x"))
make("absolute.tar", ("/tmp/fabric-evil2", "f", b"x"))
make("hard.tar", ("h", "h", "../../../../../../etc/passwd"))
make("link.tar", ("s", "l", "/tmp"), ("s/fabric-evil3", "f", b"x"))
make("up.tar", ("u", "l", "../../../../../../../tmp"), ("u/fabric-evil4", "f", b"x"))
make("wh.tar", ("d", "d", 0), ("d/.wh...", "f", b""))
make("dev.tar", ("etc", "d", 0), ("null", "c", 0), ("etc/ok", "f", b"fine"))
P
for t in dotdot absolute hard wh; do
    hostile $t.tar
    exits 1 fabric image import evil
done
hostile link.tar; fabric image import -q evil >/dev/null 2>&1
hostile up.tar; fabric image import -q evil >/dev/null 2>&1
ls /tmp/fabric-evil* /evil1 "$FABRIC_HOME"/evil* "$FABRIC_HOME"/tmp/evil* 2>/dev/null && fail "an archive reached outside"
hostile dev.tar
ok fabric image import --json evil
eq 1 "$(jq .skipped .out)" "device nodes are left out"
# Holes at the end of files, and what an import that was killed has left.
cp -a l1 sparse && truncate -s 1M sparse/empty && echo start >sparse/start && truncate -s 1M sparse/start
tar -C sparse -Scf holes.tar .
hostile holes.tar
mkdir "$FABRIC_HOME/tmp/image-killed"
ok fabric image import -q evil
ok fabric job run --image "$(cat .out)" -- /bin/busybox stat -c %s /empty /start
eq '1048576 1048576' "$(tr '\n' ' ' <.out | sed 's/ $//')" "files with holes at their end"
head -c 100000 /dev/urandom >noise
refuses 1 'not a' fabric image import noise
refuses 1 'cannot' fabric image import missing.tar
mkdir empty; refuses 1 'neither manifest.json' fabric image import empty
[[ -z $(ls "$FABRIC_HOME/tmp") ]] || fail "something is left in the home's tmp"
(($(fabric image ls -q | wc -l) <= before + 3)) || fail "a refused archive is listed"
echo ok
