// Package nearest finds the known name that somebody who misspelt one probably meant.
package nearest

// maxLen bounds what is compared: nobody misspells a name this long, and the cost is quadratic.
const maxLen = 64

// Name gives the one of known that is closest to given, or "" when none is near enough to be worth naming: more than a third of
// its letters would have to change. Of equally near names the first wins.
func Name(given string, known []string) string {
	best, bestDistance := "", 0
	for _, k := range known {
		if len(k) > maxLen || len(given) > maxLen {
			continue
		}
		d := distance(given, k)
		if limit := max(1, max(len(given), len(k))/3); d > limit {
			continue
		}
		if best == "" || d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with a neighbour (optimal string alignment), by bytes.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
