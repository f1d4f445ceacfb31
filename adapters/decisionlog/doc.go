// Package decisionlog takes recorded decisions out of Gatehouse, for the tools of others: as events of OPA's
// decision logs, which it also uploads to a collector in OPA's own protocol, and as CSV and Parquet for analysts.
//
// It reads no store. What is masked in a record was masked before it was written, and stays so here.
package decisionlog
