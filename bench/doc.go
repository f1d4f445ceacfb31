// Package bench has the stages of a review as pieces of work that can be run one by one, for benchmarks and for the
// count of their allocations (allocations). What compares Gatehouse with other servers is in compare, what measures
// replicas of it in scale; both stand on rig, with the load in load and the policy in policy.
package bench
