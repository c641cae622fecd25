#!/bin/sh
#
# check-layers.sh - an #include may only point up the table of layers.
#
#   tests/check-layers.sh [DIRECTORY]
#
# Every #include of a file of the project, quoted or in angle brackets, is
# looked at: it must name a header of the same folder, of a layer below, or
# quire.h; tools/ may include quire.h and their own headers, tests/ anything.
# A *_impl.h belongs to its folder and to the tests. Paths are written from the
# root, so that a reader sees the layer.

set -u
cd "${1:-.}" || exit 1

find alloc cache pages txlog tools tests quire.h -name '*.[ch]' 2>/dev/null |
    LC_ALL=C sort | while read -r file; do
    awk -v file="$file" '
    function dir(path) {
        return sub(/\/[^\/]*$/, "", path) ? path : "."
    }
    function exists(path,    line, rc) {
        rc = (getline line < path)
        close(path)
        return rc >= 0
    }
    function bad(why) {
        printf "%s:%d: #include of %s: %s\n", file, FNR, target, why
    }
    BEGIN {
        # What each folder may include, besides itself and quire.h.
        may["alloc"] = ""
        may["cache"] = "alloc"
        may["pages"] = "alloc"
        may["pages/file"] = "alloc cache pages"
        may["txlog/tree"] = "alloc cache pages pages/file"
        may["txlog"] = "alloc cache pages pages/file txlog/tree"
        may["tools"] = ""
        may["tools/examples"] = ""
        may["."] = ""
        own = dir(file)
    }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
        target = $0
        sub(/^[^"<]*["<]/, "", target)
        sub(/[">].*/, "", target)
        quoted = ($0 ~ /include[ \t]*"/)
        if (target ~ /(^|\/)\.\.?\//) {
            bad("write the path from the root")
            next
        }
        if (!exists(target)) {
            if (quoted && exists(own "/" target))
                bad("write the path from the root")
            else if (quoted)
                bad("no such file in the project")
            next            # a header of the system
        }
        if (target == "quire.h" || own == "tests" || own ~ /^tests\//)
            next
        to = dir(target)
        if (to == own)
            next
        if (!(own in may)) {
            bad("the folder " own " is not in the table of layers")
            next
        }
        if (target ~ /_impl\.h$/) {
            bad("it belongs to " to " alone")
            next
        }
        n = split(may[own], allowed, " ")
        for (i = 1; i <= n; i++)
            if (allowed[i] == to)
                next
        bad(own " may not include " to)
    }' "$file"
done | {
    if grep .; then
        exit 1
    fi
    echo "every include points up the table of layers"
}
