package schemas

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func schemaNumber(i int) []byte {
	return fmt.Appendf(nil, `{"type":"record","name":"R%d","fields":[{"name":"a","type":"int","doc":"%s"}]}`, i, strings.Repeat("x", 200))
}

func TestCacheGivesOneSchemaPerText(t *testing.T) {
	c := NewCache(0)
	first, err := c.schema(schemaNumber(1))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if s, err := c.schema(schemaNumber(1)); err != nil || s != first {
				t.Errorf("another schema for the same text, %v", err)
			}
			if s, err := c.schema(schemaNumber(2 + i%5)); err != nil || s == first {
				t.Errorf("the same schema for another text, %v", err)
			}
		})
	}
	wg.Wait()
	for i := range 5 {
		a, _ := c.schema(schemaNumber(2 + i))
		b, _ := c.schema(schemaNumber(2 + i))
		if a != b {
			t.Error("two schemas for one text after a race for it")
		}
	}
}

func TestCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	const bound = 100_000
	c := NewCache(bound)
	used, err := c.schema(schemaNumber(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 500; i++ {
		if _, err := c.schema(schemaNumber(i)); err != nil {
			t.Fatal(err)
		}
		if s, _ := c.schema(schemaNumber(0)); s != used {
			t.Fatalf("the schema in use was dropped after %d others", i)
		}
		held := int64(0)
		for _, generation := range []map[string]cached{c.young, c.old} {
			for text, e := range generation {
				held += e.bytes(text)
			}
		}
		if held > bound {
			t.Fatalf("holds %d bytes of %d", held, bound)
		}
	}
	if n := len(c.young) + len(c.old); n > 200 || n < 10 {
		t.Errorf("holds %d schemas", n)
	}
}

func TestCacheRemembersRefusals(t *testing.T) {
	c := NewCache(0)
	bad := []byte(`{"type":"record","name":"R"}`)
	_, first := c.schema(bad)
	_, second := c.schema(bad)
	if first == nil || second == nil || first == second || first.Error() != second.Error() {
		t.Errorf("%v and %v: want two equal errors that are not one", first, second)
	}
	if len(c.young) != 1 {
		t.Errorf("holds %d entries", len(c.young))
	}
	first.Block = 7
	if _, third := c.schema(bad); third.Block == 7 {
		t.Error("what a caller adds to an error stays in the cache")
	}
}

func TestSchemaTooLargeForTheCacheIsRead(t *testing.T) {
	d := NewDecoder(Config{}, NewCache(100))
	for range 2 {
		b, err := d.Decode(container(string(schemaNumber(1)), 1, long(5)), nil)
		if err != nil || jsonOf(t, b.Row(0)) != `{"a":5}` {
			t.Fatal(err)
		}
	}
	if len(d.cache.young) != 0 {
		t.Error("it is in the cache")
	}
}

func TestSchemasOfStrangers(t *testing.T) {
	deep := func(n int) string {
		return strings.Repeat(`{"type":"array","items":`, n) + `"int"` + strings.Repeat("}", n)
	}
	for name, c := range map[string]struct{ schema, says string }{
		"nested lists past the bound": {deep(513), "too many lists and objects inside each other: 513, at most 512"},
		"more than 2 MiB":             {`"` + strings.Repeat("x", 2<<20) + `"`, "at most 2097152"},
		"unknown type":                {`{"type":"record","name":"R","fields":[{"name":"a","type":"nope"}]}`, "no valid Avro schema"},
		"record without fields":       {`{"type":"record","name":"R"}`, "no valid Avro schema"},
		"field without type":          {`{"type":"record","name":"R","fields":[{"name":"a"}]}`, "no valid Avro schema"},
		"field without name":          {`{"type":"record","name":"R","fields":[{"type":"int"}]}`, "no valid Avro schema"},
		"two fields of one name":      {`{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}`, "no valid Avro schema"},
		"fields that are no list":     {`{"type":"record","name":"R","fields":{"a":"int"}}`, "no valid Avro schema"},
		"field that is a number":      {`{"type":"record","name":"R","fields":[5]}`, "no valid Avro schema"},
		"union with a type twice":     {`["int","int"]`, "no valid Avro schema"},
		"record named like a type":    {`{"type":"record","name":"string","fields":[]}`, "no valid Avro schema"},
		"record named record":         {`{"type":"record","name":"record","fields":[]}`, "no valid Avro schema"},
		"fixed of negative size":      {`{"type":"fixed","name":"F","size":-1}`, "no valid Avro schema"},
		"fixed of half a byte":        {`{"type":"fixed","name":"F","size":1.5}`, "no valid Avro schema"},
		"fixed of huge size":          {`{"type":"fixed","name":"F","size":1e30}`, "no valid Avro schema"},
		"no name":                     {`{"type":"enum","symbols":["a"]}`, "no valid Avro schema"},
		"null":                        {`null`, "no valid Avro schema"},
		"empty object":                {`{}`, "no valid Avro schema"},
		"symbols that are numbers":    {`{"type":"enum","name":"E","symbols":[1]}`, "no valid Avro schema"},
		"array without items":         {`{"type":"array"}`, "no valid Avro schema"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewCache(0).schema([]byte(c.schema)); err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 500 {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	for name, schema := range map[string]string{
		"nested lists at the bound":                deep(512),
		"type inside type":                         `{"type":{"type":{"type":"int"}}}`,
		"items beside a field's type":              `{"type":"record","name":"R","fields":[{"name":"a","type":"array","items":"int"}]}`,
		"namespace null":                           `{"type":"record","name":"R","namespace":null,"fields":[]}`,
		"default that does not fit":                `{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":{}}]}`,
		"union of one":                             `["int"]`,
		"keys of goavro's own with other meanings": `{"type":"string","symbols":5,"fields":null,"size":"x","name":7}`,
	} {
		if _, err := NewCache(0).schema([]byte(schema)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
