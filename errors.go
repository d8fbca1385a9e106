package lahja

import "github.com/lahja-go/lahja/internal/fault"

// Code is an error that is known by its text and stays itself on its way from one process to
// another: [errors.Is] finds it on both sides. Declare your own as constants, with a prefix that
// is yours:
//
//	const ErrNotFound lahja.Code = "chain: not found"
//
// A handler returns it, or an error that wraps it; its requester gets a [RemoteError] that wraps
// it. A Code of more than 255 bytes is text and no more.
type Code = fault.Code

// The errors of this package. They are wrapped in errors that say which and what to do; compare
// with [errors.Is].
const (
	// ErrClosed: the endpoint, the bus or the subscription has been closed.
	ErrClosed = fault.Closed
	// ErrNoSubscribers: nobody subscribes to the event, or nobody of those that To names.
	ErrNoSubscribers = fault.NoSubscribers
	// ErrResponderGone: nobody is left who could answer the request.
	ErrResponderGone = fault.ResponderGone
	// ErrUnexpectedResponse: an answer of another type than is wanted, or one that is not wanted
	// any more.
	ErrUnexpectedResponse = fault.UnexpectedResponse
	// ErrNotRequest: Reply or Fail to an event that was broadcast, and not requested.
	ErrNotRequest = fault.NotRequest
	// ErrWouldBlock: a broadcast with NoWait would have had to wait.
	ErrWouldBlock = fault.WouldBlock
	// ErrStalled: a subscription or an endpoint did not take what was sent to it.
	ErrStalled = fault.Stalled
	// ErrSessionLost: the connection to the bus has broken.
	ErrSessionLost = fault.SessionLost
	// ErrNameTaken: another endpoint of that name is attached.
	ErrNameTaken = fault.NameTaken
	// ErrDenied: it is not allowed, or cannot be: an impossible name, options that contradict
	// each other.
	ErrDenied = fault.Denied
	// ErrTooLarge: an event, with the names that it is for, a response, or a subscription with those
	// in its From has more bytes than the limit.
	ErrTooLarge = fault.TooLarge
	// ErrProtocol: the other side sent what cannot be understood.
	ErrProtocol = fault.Protocol
)

// RemoteError is an error that the other side has said: a handler that failed, or a bus that
// refused. [errors.As] finds it, which tells such errors from those that were found out here. It
// unwraps to its Code, if it has one, or to [context.Canceled] or [context.DeadlineExceeded].
//
//	type RemoteError struct {
//		Endpoint string // who said it; "bus" is the bus
//		Code     Code   // empty: it has none
//		Message  string // the text of the error there, or its first 4 KiB
//	}
type RemoteError = fault.RemoteError
