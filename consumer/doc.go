// Package consumer runs jobs: it is a member of their groups, brings records through the data path in the order of their lanes, commits
// what is finished, writes what is given up to dead letters, and sends those again. All that speaks Kafka is here or below.
//
// An Instance is what the jobs of one process share; a Runner runs one of them, session after session. Read path.go first: it is the way
// of a record from top to bottom. docs/design.md says which goroutine does what, in which order locks are taken, and what once broke.
package consumer
