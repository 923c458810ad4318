package track

// Unfinished gives how many records from offset from up to to, which were not read, nobody has finished before. Offsets without a
// record (compaction, markers) count too, since nobody can tell them apart any more. The cost is that of a walk over what was restored.
func (t *Tracker) Unfinished(from, to int64) int64 {
	n := max(to-from, 0)
	for _, s := range t.restored.spans {
		if s.rows == nil {
			n -= max(min(s.to, to)-max(s.from, from), 0)
		}
	}
	return n
}
