#!/bin/sh
#
# check-acquire.sh - every acquisition of the library is a failure point.
#
#   tests/check-acquire.sh [DIRECTORY]
#
# Each call below of a function that acquires something must stand inside
# QUIRE_POINT() or QUIRE_POINT_RC() (alloc/point.h). The exceptions are listed
# with their reasons; one that is no longer met fails too. A new kind of
# acquisition is a new word in `acquire`.

set -u
cd "${1:-.}" || exit 1

find alloc cache pages txlog -name '*.c' | LC_ALL=C sort | xargs awk '
    BEGIN {
        # memory, budget, address space, threads
        acquire = "ra_obj_alloc|ra_line_alloc|ra_table_alloc|ra_seg_alloc"
        acquire = acquire "|ra_seg_alloc_many|ra_seg_try|ra_pool_reserve"
        acquire = acquire "|ra_pool_reserve_virtual|sys.map|sys.commit"
        acquire = acquire "|sys.decommit|sys.alloc|sys.thread_create|sys.huge"
        # frames, entries, pins, pages
        acquire = acquire "|pc_evict_claim|pc_frame_publish|pc_evict_charge"
        acquire = acquire "|pc_pin|pc_insert|opt.load"
        # files, locks, spans, batches
        acquire = acquire "|io.open|io.lock|pf_span_reserve|pf_span_take"
        acquire = acquire "|pf_batch_begin"
        # intents, handles
        acquire = acquire "|tr_log_reserve|tr_log_adopt|log_numbers"
        acquire = acquire "|tx_handle_take"
        pattern = "(^|[^a-z_.])(" acquire ")\\("

        # FUNCTION:CALL that need no point of their own.
        # These pass the request on; their callers have the points.
        except["ra_obj_alloc:sys.alloc"] = 1
        except["ra_line_alloc:ra_obj_alloc"] = 1
        except["tx_handle_take:ra_obj_alloc"] = 1
        except["tr_log_adopt:log_numbers"] = 1
        # A new pool has room, or its limits are refused as QUIRE_INVAL.
        except["ra_pool_map_own:ra_pool_reserve"] = 1
        except["ra_pool_map_own:ra_pool_reserve_virtual"] = 1
        # Nothing is reserved after the first page was split (TR-2).
        except["split_path:tr_log_adopt"] = 1
        # Nor before the first page was cut.
        except["cut_empty:tr_log_adopt"] = 1
    }
    function finish(    call, key, at, before) {
        while (match(text, pattern)) {
            call = substr(text, RSTART, RLENGTH - 1)
            sub(/^[^a-z]/, "", call)
            before = substr(text, 1, RSTART)
            key = func_name ":" call
            ncalls++
            if (key in except)
                met[key] = 1
            else if (before !~ /QUIRE_POINT/) {
                printf "%s:%d: %s() in %s() is no failure point\n", \
                    FILENAME, line, call, func_name
                bad = 1
            }
            text = substr(text, 1, RSTART) substr(text, RSTART + RLENGTH)
        }
        text = ""
    }
    FNR == 1 { depth = 0; comment = 0; text = ""; head = "" }
    /^[ \t]*#/ { next }
    {
        s = $0
        gsub(/"([^"\\]|\\.)*"/, "\"\"", s)
        gsub(/\047([^\047\\]|\\.)*\047/, "0", s)
        gsub(/\/\*[^*]*\*+([^\/*][^*]*\*+)*\//, " ", s)
        if (comment) {
            if (!match(s, /\*\//))
                next
            s = substr(s, RSTART + 2)
            comment = 0
        }
        if (match(s, /\/\*/)) {
            s = substr(s, 1, RSTART - 1)
            comment = 1
        }
        gsub(/->/, ".", s)
        # `pool.sys.map(` and `os->io.open(` are told by their last two words.
        gsub(/[a-z_.]+\.sys\./, "sys.", s)
        gsub(/[a-z_.]+\.io\./, "io.", s)
        gsub(/[a-z_.]+\.opt\./, "opt.", s)
        for (i = 1; i <= length(s); i++) {
            ch = substr(s, i, 1)
            if (ch == "{") {
                if (depth == 0) {
                    func_name = head
                    sub(/\(.*/, "", func_name)
                    sub(/.*[^a-zA-Z0-9_]/, "", func_name)
                } else
                    finish()
                depth++
                text = ""
            } else if (ch == "}") {
                finish()
                depth--
                head = ""
            } else if (ch == ";") {
                if (depth > 0)
                    finish()
                head = ""
                text = ""
            } else if (depth == 0) {
                head = head ch
            } else {
                if (text ~ /^[ \t]*$/)
                    line = FNR
                text = text ch
            }
        }
        if (depth == 0)
            head = head " "
        else
            text = text " "
    }
    END {
        for (key in except)
            if (!(key in met)) {
                print key ": is excepted, but there is no such call"
                bad = 1
            }
        if (!bad)
            print ncalls " acquisitions looked at"
        exit bad || ncalls == 0
    }'
