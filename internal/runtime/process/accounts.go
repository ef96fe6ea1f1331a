package process

import (
	"errors"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// account is a user that instances run as.
type account struct{ uid, gid uint32 }

// accounts hands users to functions.
type accounts struct {
	first, last uint32
	gid         uint32
	own         bool // each id is its own group
	each        bool // a range: every function has a user of its own

	// end ends everything that runs as a user, and tells what is left.
	end func(first, last uint32) map[int]uint32
	// forget takes its files from a function whose user passes to another one.
	forget func(function string)
	log    *zap.Logger

	mu      sync.Mutex
	given   map[string]uint32 // function → user; stays after its end, so that its files stay its own
	runs    map[string]int
	blocked map[uint32]bool // processes of the user could not be ended
}

// newAccounts reads a user or a range; nil for "".
func newAccounts(text string) (*accounts, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	a := &accounts{own: true, given: map[string]uint32{}, runs: map[string]int{}, blocked: map[uint32]bool{},
		end: endProcesses, forget: func(string) {}, log: zap.NewNop()}
	low, high, isRange := strings.Cut(text, "-")
	first, err := strconv.ParseUint(low, 10, 31)
	switch {
	case err == nil && isRange:
		last, err := strconv.ParseUint(high, 10, 31)
		if err != nil || last < first {
			return nil, fmt.Errorf("%q is no range of user ids, such as 20000-29999", text)
		}
		a.first, a.last, a.each = uint32(first), uint32(last), true
	case err == nil:
		a.first, a.last = uint32(first), uint32(first)
	default:
		known, err := user.Lookup(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither a user of this host, nor a user id, nor a range of them: %w", text, err)
		}
		uid, err1 := strconv.ParseUint(known.Uid, 10, 31)
		gid, err2 := strconv.ParseUint(known.Gid, 10, 31)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("the ids of user %q: %w", text, err)
		}
		a.first, a.last, a.gid, a.own = uint32(uid), uint32(uid), uint32(gid), false
	}
	if a.first == 0 {
		return nil, errors.New("functions must not run as root (user id 0)")
	}
	return a, nil
}

// SeparateUsers says that goWorker.functionUser gives every function a user of its own.
func SeparateUsers(user string) bool {
	a, err := newAccounts(user)
	return err == nil && a.separate()
}

// FunctionUser is the user and group that functions run as by goWorker.functionUser; of a range the first.
func FunctionUser(user string) (uid, gid uint32, err error) {
	a, err := newAccounts(user)
	if err != nil {
		return 0, 0, err
	}
	if a == nil {
		return 0, 0, errors.New("functions have no user of their own")
	}
	first := a.account(a.first)
	return first.uid, first.gid, nil
}

// separate says that every function has a user of its own.
func (a *accounts) separate() bool { return a != nil && a.each }

// has says whether instances run as this user.
func (a *accounts) has(uid uint32) bool { return a != nil && uid >= a.first && uid <= a.last }

func (a *accounts) account(uid uint32) account {
	if a.own {
		return account{uid, uid}
	}
	return account{uid, a.gid}
}

// running gives the user of a function of which an instance runs: nobody can take it away meanwhile.
func (a *accounts) running(function string) (account, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.account(a.given[function]), a.runs[function] > 0
}

// take gives a function its user until release. With a range it is no other function's, and nothing runs as it.
func (a *accounts) take(function string) (account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	uid, ok := a.given[function]
	if ok && a.runs[function] == 0 && !a.clean(uid) {
		a.pass(function)
		ok = false
	}
	if !ok {
		if uid, ok = a.free(); !ok {
			return account{}, fmt.Errorf("all %d users of goWorker.functionUser are taken by running functions%s; name a larger range", a.last-a.first+1, a.blockedText())
		}
		a.given[function] = uid
	}
	a.runs[function]++
	return a.account(uid), nil
}

// release ends what the last instance of a function left behind.
func (a *accounts) release(function string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runs[function]--; a.runs[function] <= 0 {
		delete(a.runs, function)
		a.clean(a.given[function])
	}
}

// sweep ends what an earlier life of the worker left behind. The caller knows that the range is this worker's.
func (a *accounts) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.each {
		a.block(a.end(a.first, a.last))
	}
}

func (a *accounts) free() (uint32, bool) {
	if !a.each {
		return a.first, true
	}
	taken := make(map[uint32]bool, len(a.given))
	for _, uid := range a.given {
		taken[uid] = true
	}
	for _, blocked := range []bool{false, true} { // what could not be ended may be gone by now
		for uid := a.first; uid <= a.last; uid++ {
			if !taken[uid] && a.blocked[uid] == blocked && a.clean(uid) {
				return uid, true
			}
		}
		for function, uid := range a.given { // of one that does not run any more
			if a.runs[function] == 0 && a.blocked[uid] == blocked && a.clean(uid) {
				a.pass(function)
				return uid, true
			}
		}
	}
	return 0, false
}

// pass takes its user from a function.
func (a *accounts) pass(function string) {
	a.forget(function)
	delete(a.given, function)
}

// clean ends what runs as the user of a function, and says whether that worked. A user that functions share may run other programs.
func (a *accounts) clean(uid uint32) bool {
	if !a.each {
		return true
	}
	left := a.end(uid, uid)
	if len(left) == 0 {
		delete(a.blocked, uid)
		return true
	}
	a.block(left)
	return false
}

func (a *accounts) block(left map[int]uint32) {
	users := map[uint32][]int{}
	for pid, uid := range left {
		users[uid] = append(users[uid], pid)
	}
	for uid, pids := range users {
		slices.Sort(pids)
		a.blocked[uid] = true
		a.log.Error("processes of a user of goWorker.functionUser cannot be ended; no function gets this user until they are gone",
			zap.Uint32("uid", uid), zap.Ints("pids", pids))
	}
}

func (a *accounts) blockedText() string {
	if len(a.blocked) == 0 {
		return ""
	}
	return fmt.Sprintf(" or by processes that cannot be ended (users %v)", slices.Sorted(maps.Keys(a.blocked)))
}
