package mapping

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"streamer/schemas"
)

// jqBody runs a payload of one program and gives the body, or the error.
func jqBody(t testing.TB, program, row string) (string, error) {
	t.Helper()
	p := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{},"constant":{"names":{"eng":"en"}},"payload":{"$jq":`+jsonText(program)+`}}`)
	var r Request
	_, err := mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, row)}, &r)
	return string(r.Body), err
}

// Whoever takes another gojq learns here, and no user learns it later, that its compiled code is laid out in another way than wrap looks at: then
// wrap has to follow. What is called is charged before it runs.
func TestJQIsMetered(t *testing.T) {
	if err := jqLayout(); err != nil {
		t.Fatalf("gojq cannot be metered, so that this version of it cannot be used: %v", err)
	}
	m, err := (&jqProgram{text: `.msg | sort`}).machine()
	if err != nil {
		t.Fatal(err)
	}
	charged := func(n int) int {
		if _, _, err := m.run(nil, map[string]any{"msg": make([]any, n)}, nil); err != nil {
			t.Fatal(err)
		}
		return maxWork - m.meter.left
	}
	if few, many := charged(1), charged(1001); many-few < 1000*16*4 {
		t.Errorf("a list of 1 costs %d, one of 1,001 %d", few, many)
	}
}

// TestJQEndsWhatLoopsOrGrows: whatever a program does, one row costs bounded time and memory, and the same row fails at every try.
func TestJQEndsWhatLoopsOrGrows(t *testing.T) {
	const row = `{"list":[1,2,3],"text":"some text of a row","deep":{"a":{"b":1}},"big":123456789012345678901234567890}`
	for name, program := range map[string]string{
		"a tail call for ever":          `def f: f; f`,
		"a call for ever":               `def f: 1 + f; f`,
		"an endless list":               `[limit(1e9; repeat(1))]`,
		"a long range":                  `[range(1e9)]`,
		"a range without a list":        `range(1e9) | empty`,
		"a text repeated":               `"x" * 1e9`,
		"a text repeated, twice":        `"x" * 1e4 * 1e4`,
		"a text doubled":                `reduce range(60) as $i ("x"; . + .)`,
		"a text doubled in a text":      `reduce range(60) as $i ("x"; "\(.)\(.)")`,
		"a text escaped again":          `reduce range(60) as $i ("\""; tojson)`,
		"a text in base64 again":        `reduce range(200) as $i ("x"; @base64)`,
		"a text in percents again":      `reduce range(60) as $i ("é"; @uri "\(.)\(.)")`,
		"a list doubled":                `reduce range(60) as $i ([1]; . + .)`,
		"a tree of shared branches":     `reduce range(60) as $i (1; [., .])`,
		"such a tree as a text":         `reduce range(60) as $i (1; [., .]) | tojson | length`,
		"such a tree made flat":         `reduce range(60) as $i (1; [., .]) | flatten | length`,
		"two such trees compared":       `reduce range(60) as $i (1; [., .]) | . == (reduce range(60) as $i (1; [., .]))`,
		"such trees sorted":             `reduce range(60) as $i (1; [., .]) | [., ., .] | sort | length`,
		"such a tree within another":    `reduce range(60) as $i (1; [., .]) | contains([[1]]) | not`,
		"such a tree walked":            `reduce range(60) as $i (1; [., .]) | walk(.) | length`,
		"such a tree's paths":           `reduce range(60) as $i (1; [., .]) | [paths] | length`,
		"such objects merged":           `reduce range(60) as $i ({}; {a: ., b: .}) | . * . | length`,
		"values nested without end":     `reduce range(1e6) as $i (1; [.])`,
		"values nested, as a text":      `reduce range(1e5) as $i (1; [.]) | tojson`,
		"a number squared":              `reduce range(60) as $i (.msg.big; . * .)`,
		"a power":                       `reduce range(1e6) as $i (1; . * 1000000007)`,
		"a far index":                   `.msg.list[500000000] = 1`,
		"far indexes":                   `[range(1e4)] | [.[] as $i | ([] | .[$i * 100] = 1)]`,
		"a far path":                    `setpath(["a", 400000000]; 1)`,
		"a large list begun again":      `[range(50000)] as $l | [range(1e6) | first($l[])] | length`,
		"a large list asked again":      `[range(50000)] as $l | [range(1e6) | any($l[]; . == 0)] | length`,
		"a large text cut again":        `("x" * 1e6) as $t | [range(1e6) | $t[500000:500001]] | length`,
		"a large text indexed again":    `("x" * 1e6) as $t | [range(1e6) | $t[0:1]] | length`,
		"a large text measured again":   `("x" * 1e6) as $t | [range(1e6) | $t | length] | length`,
		"a large list copied again":     `[range(50000)] as $l | reduce range(1e6) as $i (0; $l | .[0] = $i | length)`,
		"a large list updated again":    `[range(50000)] as $l | reduce range(1e6) as $i (0; $l | .[0] |= $i | length)`,
		"every pair":                    `[range(20000)] - [range(20000; 40000)] | length`,
		"a text searched":               `("a" * 1e6) | index(("a" * 1e5) + "b")`,
		"an empty match everywhere":     `("x" * 4e6) | [match(""; "g")] | length`,
		"groups everywhere":             `("x" * 1e6) | [match("(((((((((x)))))))))"; "g")] | length`,
		"a huge pattern":                `.msg.text | test("((a{1000}){1000}){1000}")`,
		"a large pattern":               `.msg.text | test("(" * 2000 + ")" * 2000)`,
		"a pattern of alternatives":     `("a" * 3e5) | test("(a|aa|aaa|aaaa){0,500}b")`,
		"patterns without end":          `reduce range(1e6) as $i (0; ("x" | test("a{\($i % 900)}x+\($i)")) | 0)`,
		"a split into characters":       `("x" * 4e6) / "" | length`,
		"a text exploded":               `("x" * 4e6) | explode | length`,
		"a text joined":                 `[range(1000)] | map("x" * 1e5) | join("")`,
		"a text joined by a long one":   `("x" * 1e6) as $s | [range(1e4)] | join($s)`,
		"lists turned over":             `[[range(10000)], (range(10000) | [])] | transpose | length`,
		"a JSON text again":             `("[" * 9000 + "]" * 9000) | [range(1e5) as $i | fromjson] | length`,
		"combinations":                  `[range(10)] | [combinations(9)] | length`,
		"a try around all of it":        `def f: try ("x" * 1e9) catch f; f`,
		"an alternative around it":      `[range(1e6) | (("x" * 1e9)? // 1)] | length`,
		"recursion":                     `[recurse(. + 1)] | length`,
		"until never":                   `0 | until(false; . + 1)`,
		"while always":                  `[0 | while(true; . + 1)]`,
		"nothing, for ever":             `[repeat(empty)], [range(1e18) | empty]`,
		"an object of many keys":        `reduce range(1e6) as $i ({}; .["k\($i)"] = $i)`,
		"a stream of a tree":            `reduce range(60) as $i (1; [., .]) | [tostream] | length`,
		"labels":                        `[range(1e8) | label $a | break $a]`,
		"a format of a large text":      `reduce range(30) as $i ("&"; @html "\(.)\(.)")`,
		"a date's format without end":   `0 | strftime("%A" * 1e7)`,
		"groups of a large list":        `[range(3000)] | map([range(1000)]) | group_by(.) | length`,
		"every output":                  `range(1e9)`,
		"a text that is cut and joined": `("ab" * 1e5) | gsub("a"; "aa")`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			body, err := jqBody(t, program, row)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatalf("gives %.100s", body)
			}
			if !strings.HasPrefix(err.Error(), "payload (") {
				t.Errorf("says %v", err)
			}
			if grown := after.Sys - before.Sys; took > 30*time.Second || after.TotalAlloc-before.TotalAlloc > 1<<30 || grown > 512<<20 {
				t.Errorf("took %v, allocated %d MiB, the process grew by %d MiB", took, (after.TotalAlloc-before.TotalAlloc)>>20, grown>>20)
			}
			t.Logf("%v, %d MiB: %v", took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, err)
		})
	}
}

// TestJQ: what programs give, above all of what is ours beneath them: matches, the ways to pass the meter, numbers.
func TestJQ(t *testing.T) {
	const row = `{"text":"Grüße, Welt","list":[3,1,2],"objects":[{"a":1,"b":"x"},{"a":2}],"deep":{"a":[{"b":[1,{"c":2}]}]},"big":12345678901234567890123,"n":1.50}`
	for program, want := range map[string]string{
		`.msg.text | [match("[ßü]"; "g") | .offset, .length, .string]`:                  `[2,1,"ü",3,1,"ß"]`,
		`.msg.text | capture("(?<first>[a-z])(?<rest>.*), (?<second>W)")`:               `{"first":"r","rest":"üße","second":"W"}`,
		`.msg.text | [match("(x)?(W)(?<rest>.)").captures[] | .name, .offset, .string]`: `[null,-1,null,null,7,"W","rest",8,"e"]`,
		`.msg.text | sub("(?<a>W)(?<b>e)"; "\(.b)\(.a)")`:                               `"Grüße, eWlt"`,
		`.msg.text | [splits(", *")]`:                                                   `["Grüße","Welt"]`,
		`.msg.text | [scan("[a-z]l")]`:                                                  `["el"]`,
		`.msg.text | test("WELT"; "i"), test("WELT")`:                                   `[true,false]`,
		`.msg.text | gsub("ü"; "ue") | ascii_upcase`:                                    `"GRUEßE, WELT"`,
		`.msg.text[2:5], .msg.text[-4:]`:                                                `["üße","Welt"]`,
		`.msg.list | sort, (.[1:] | length), .[-1], first, last`:                        `[[1,2,3],2,2,3,2]`,
		`.msg.list as [$a, $b] | $a - $b`:                                               `2`,
		`[.msg.list[] | . * 2] | add`:                                                   `12`,
		`.msg.list | map(select(. > 1))`:                                                `[3,2]`,
		`.msg.list | to_entries | map(.key)`:                                            `[0,1,2]`,
		`.msg.objects | map({(.b // "none"): .a}) | add`:                                `{"none":2,"x":1}`,
		`.msg.objects | INDEX(.a) | keys`:                                               `["1","2"]`,
		`.msg.objects[0] | has("a"), has("z")`:                                          `[true,false]`,
		`.msg.objects | .[0].a = 9 | .[1].b |= "y" | del(.[0].b)`:                       `[{"a":9},{"a":2,"b":"y"}]`,
		`.msg.objects[1:][0].a`:                                                         `2`,
		`.msg.deep | [.. | numbers]`:                                                    `[1,2]`,
		`.msg.deep | [paths(type == "number")]`:                                         `[["a",0,"b",0],["a",0,"b",1,"c"]]`,
		`[.msg.deep.a[].b[] | .c? // .]`:                                                `[1,2]`,
		`.msg.deep.a[0].b[1] | with_entries(.value += 1)`:                               `{"c":3}`,
		`.msg.deep | path(.a[].b[1].c)`:                                                 `["a",0,"b",1,"c"]`,
		`.msg.big, .msg.big - 1, -(.msg.big)`:                                           `[12345678901234567890123,12345678901234567890122,-12345678901234567890123]`,
		`.msg.n, [.msg.n], (.msg.n | tojson), .msg.n + 0`:                               `[1.50,[1.50],"1.50",1.5]`,
		`1e300, 0.1 + 0.2, 3.0, 1e21, -0.0`:                                             `[1e+300,0.30000000000000004,3,1e+21,-0]`,
		`"\(.msg.list[0]) of \(.msg.list)"`:                                             `"3 of [3,1,2]"`,
		`.msg.list | @csv, @json, @html "<\(.[0])>"`:                                    `["3,1,2","[3,1,2]","<3>"]`,
		`"a b" | @uri, @base64, (@base64 | @base64d)`:                                   `["a%20b","YSBi","a b"]`,
		`"2026-02-03T04:05:06Z" | fromdate | todate, (strftime("%Y"))`:                  `["2026-02-03T04:05:06Z","2026"]`,
		`reduce .msg.list[] as $x (0; . + $x), [foreach .msg.list[] as $x (0; . + $x)]`: `[6,[3,4,6]]`,
		`[limit(2; .msg.list[])], isempty(.msg.none[]?), ([.msg.list[] | if . > 2 then "a" elif . > 1 then "b" else "c" end] | join(","))`: `[[3,1],true,"a,c,b"]`,
		`try error("x") catch ., (try (1 | .a) catch "no"), (.msg.text.a? // "none")`:                                                      `["x","no","none"]`,
		`def f($x; g): $x + (.msg.list | map(g) | add); f(1; . * 10)`:                                                                      `61`,
		`$constant.names.eng, .constant.names, ($constant | keys)`:                                                                         `["en",{"eng":"en"},["names"]]`,
		`[[1,2],[3]] | flatten, transpose, (.[0] | contains([1])), (map(length) | max)`:                                                    `[[1,2,3],[[1,3],[2,null]],true,2]`,
		`.msg.list | group_by(. > 1), unique, min, max, any(. > 2), all(. > 2), index(1), (. - [1])`:                                       `[[[1],[3,2]],[1,2,3],1,3,true,false,1,[3,2]]`,
		`"null" | fromjson, ("[1.10,9007199254740993]" | fromjson)`:                                                                        `[null,[1.10,9007199254740993]]`,
		`"12" | tonumber, ("a,b" / ","), ("ab" * 2), ("abc" | ltrimstr("a"), explode, (explode | implode))`:                                `[12,["a","b"],"abab","bc",[97,98,99],"abc"]`,
		`10 / 4, 7 % 3, (2 | pow(.; 10)), (5.5 | floor, ceil, round)`:                                                                      `[2.5,1,1024,5,6,6]`,
	} {
		if got, err := jqBody(t, program, row); err != nil || got != want {
			t.Errorf("%s\ngives %s, %v\nwant  %s", program, got, err, want)
		}
	}
}

// A pattern that comes from a row is kept only while they are few, and not in the row's memory.
func TestJQKeepsFewPatterns(t *testing.T) {
	m := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{},"payload":{"$jq":".msg.p as $p | .msg.text | test($p)"}}`).NewMapper()
	for i := range 10 * maxPatterns {
		row := []byte(`{"text":"a7","p":"` + strings.Repeat("a", i%3) + strconv.Itoa(i) + `|b"}`)
		v, err := schemas.ParseJSON(row, schemas.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var r Request
		if _, err := mapOne(m, &Message{Msg: v}, &r); err != nil {
			t.Fatal(err)
		}
		if want := strconv.FormatBool(i == 7); string(r.Body) != want {
			t.Errorf("pattern %d: %s", i, r.Body)
		}
		clear(row)
	}
	for _, machine := range m.jq.machines {
		if n := len(machine.regexps); n == 0 || n > maxPatterns {
			t.Errorf("%d patterns are kept", n)
		}
	}
}
