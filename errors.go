package lahja

import "github.com/lahja-go/lahja/internal/fault"

// Code is an error that is identified by its text, and therefore stays the same when it is sent to
// another process: [errors.Is] finds it on both sides. It is a string with the methods of an error.
// Declare your own as constants, with a prefix of your own:
//
//	const ErrNotFound lahja.Code = "chain: not found"
//
// A handler returns it, or an error that wraps it; the requester gets a [RemoteError] that wraps
// it. A Code of more than 255 bytes arrives as text only, which errors.Is does not find.
type Code = fault.Code

// The errors of this package, each with its text. They come wrapped in errors that say what failed
// and what to do about it; compare with [errors.Is].
const (
	// ErrClosed, "lahja: closed": the endpoint, the bus or the subscription has been closed.
	ErrClosed = fault.Closed
	// ErrNoSubscribers, "lahja: no subscribers": nobody subscribes to the event, or none of those
	// that To names.
	ErrNoSubscribers = fault.NoSubscribers
	// ErrResponderGone, "lahja: responder gone": nobody is left who could answer the request.
	ErrResponderGone = fault.ResponderGone
	// ErrUnexpectedResponse, "lahja: unexpected response": an answer has the wrong type, or comes
	// when none is wanted any more.
	ErrUnexpectedResponse = fault.UnexpectedResponse
	// ErrNotRequest, "lahja: not a request": Reply or Fail was called for an event that is not a
	// request.
	ErrNotRequest = fault.NotRequest
	// ErrWouldBlock, "lahja: would block": a broadcast with NoWait would have had to wait.
	ErrWouldBlock = fault.WouldBlock
	// ErrStalled, "lahja: stalled": a subscription or an endpoint did not take what was sent to it.
	ErrStalled = fault.Stalled
	// ErrSessionLost, "lahja: session lost": the session with the bus was lost: its connection
	// broke and was not resumed.
	ErrSessionLost = fault.SessionLost
	// ErrNameTaken, "lahja: name taken": another endpoint of that name is attached.
	ErrNameTaken = fault.NameTaken
	// ErrDenied, "lahja: denied": not permitted, or impossible: an invalid name, or options that
	// contradict each other.
	ErrDenied = fault.Denied
	// ErrTooLarge, "lahja: too large": an event with the names that it is for, a response, or a
	// subscription with the names in its From has more bytes than the limit.
	ErrTooLarge = fault.TooLarge
	// ErrProtocol, "lahja: protocol error": the other side sent what cannot be understood.
	ErrProtocol = fault.Protocol
)

// RemoteError is an error that the other side reported: of a handler that failed, or of a bus that
// refused. [errors.As] with a *RemoteError finds it, which distinguishes such errors from those of
// this side. It unwraps to its Code, if it has one, or to [context.Canceled] or
// [context.DeadlineExceeded].
//
//	type RemoteError struct {
//		Endpoint string // who reported it; "bus" is the bus
//		Code     Code   // empty if there is none
//		Message  string // the text of the error there, at most 4 KiB of it
//	}
//
//	func (e *RemoteError) Error() string // names the endpoint, then Message
//	func (e *RemoteError) Unwrap() error // Code, or the error of package context; nil if none
type RemoteError = fault.RemoteError
