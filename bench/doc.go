// Package bench has the stages of a review as pieces of work that can be run one by one, for benchmarks and for the
// count of their allocations (allocations). What compares Gatehouse with other servers is in compare, with its load
// in load and its policy in policy.
package bench
