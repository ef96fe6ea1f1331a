// Package supervisor makes what runs on this worker equal to what is assigned to it.
//
// It reads the assignments of this worker from the cluster (a level, not events), keeps one task per instance, and tells
// the API what the instances are doing. A task is one goroutine that walks an instance through its phases:
//
//	pending ─► fetching ─► starting ─► running ─► stopping ─► stopped
//	   ▲                                  │
//	   └──────────── back-off ◄───────────┘ (also after a failed fetch or start)
//
// A changed assignment, a changed function or a restart request ends the current attempt and begins a new one; an
// instance that is no longer assigned is stopped, its files are removed, and if its function is gone for good so are its
// subscriptions. Tasks never wait for each other, except that only some may start at the same time.
//
// Life cycle: New, then Run until its context ends; Run returns when every instance has been stopped. The runtime
// factory belongs to the caller and is closed after that.
package supervisor
