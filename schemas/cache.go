package schemas

import (
	"strings"
	"sync"
)

// Cache keeps compiled schemas by their text, so that a container that repeats its schema costs one look-up instead of a compilation,
// which takes ten times as long as the rest. One Cache serves all Decoders of a process; it is safe for concurrent use.
//
// It holds two generations: what is used moves to the young one, and when that is half of the bound, it becomes the old one and the old
// one is dropped. So a stream of ever new schemas holds no more than the bound, and the ones in use survive it.
type Cache struct {
	mu         sync.RWMutex
	young, old map[string]cached
	bytes      int64
	most       int64
}

// cached is a schema, or why the text is none.
type cached struct {
	schema *Schema
	err    *DecodeError
}

func (c cached) bytes(source string) int64 {
	const overhead = 256
	if c.schema != nil {
		return overhead + c.schema.bytes
	}
	return overhead + int64(len(source))
}

// cacheBytes is the default bound.
const cacheBytes = 32 * mebibyte

// NewCache gives a Cache that holds about maxBytes of compiled schemas; 0 means 32 MiB. A schema of 1 kB takes some 10 kB.
func NewCache(maxBytes int64) *Cache {
	return &Cache{young: map[string]cached{}, most: orDefault(maxBytes, cacheBytes)}
}

// schema gives the schema of a text, compiling it if it is new. Two goroutines that meet a new one at once may both compile it; one of
// the results is kept and given to both.
func (c *Cache) schema(source []byte) (*Schema, *DecodeError) {
	if found, ok := c.find(source); ok {
		return found.schema, found.failure()
	}
	if len(source) > schemaBytes {
		return nil, problem("the schema has %d bytes, at most %d are read", len(source), schemaBytes)
	}
	own := string(source)
	return c.compiled(own, []string{own})
}

// together gives the schema of the last of texts, which refers to those before it.
func (c *Cache) together(texts []string) (*Schema, *DecodeError) {
	key := strings.Join(texts, "\x00")
	if found, ok := c.find([]byte(key)); ok {
		return found.schema, found.failure()
	}
	if len(key) > schemaBytes {
		return nil, problem("the schema has %d bytes with what it refers to, at most %d are read", len(key), schemaBytes)
	}
	return c.compiled(key, texts)
}

func (c *Cache) find(key []byte) (cached, bool) {
	c.mu.RLock()
	found, young := c.young[string(key)]
	if !young {
		found = c.old[string(key)]
	}
	c.mu.RUnlock()
	if found == (cached{}) {
		return found, false
	}
	if !young {
		found = c.keep(string(key), found)
	}
	return found, true
}

func (c *Cache) compiled(key string, texts []string) (*Schema, *DecodeError) {
	var made cached
	made.schema, made.err = compileSchema(texts)
	made = c.keep(key, made)
	return made.schema, made.failure()
}

// failure gives an error of its own to each caller, who adds to it.
func (c cached) failure() *DecodeError {
	if c.err == nil {
		return nil
	}
	e := *c.err
	e.Problem = strings.Clone(e.Problem)
	return &e
}

// keep puts an entry into the young generation, unless another goroutine was first: then that one's is given back.
func (c *Cache) keep(source string, entry cached) cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.young[source]; ok {
		return first
	}
	size := entry.bytes(source)
	if size > c.most/2 {
		return entry // would drive out everything else; its Decoder remembers it
	}
	if c.bytes+size > c.most/2 {
		c.old, c.young, c.bytes = c.young, map[string]cached{}, 0
	}
	c.young[source] = entry
	c.bytes += size
	return entry
}
