package host

import "fmt"

// retryContext is Metadata.RetryContext of attempt n; last is what the attempt before failed with
// (recording C-timer-retry).
func retryContext(inv *invocation, n, most int, last *exception) string {
	e := "null"
	if last != nil {
		e = serializeFailure(inv, last)
	}
	return fmt.Sprintf(
		`{"RetryCount":%d,"MaxRetryCount":%d,"Exception":%s,"Instance":null,"State":{}}`, n, most,
		e)
}

// The frames of the host's own methods that a stack trace shows there; recorded with 4.1037.
const (
	innerFrames = "   at Microsoft.Azure.WebJobs.Script.Description.WorkerFunctionInvoker.InvokeCore(Object[] parameters, FunctionInvocationContext context)\n" +
		"   at Microsoft.Azure.WebJobs.Script.Description.FunctionInvokerBase.Invoke(Object[] parameters)\n" +
		"   at Microsoft.Azure.WebJobs.Host.Executors.VoidTaskMethodInvoker`2.InvokeAsync(TReflected instance, Object[] arguments)\n" +
		"   at Microsoft.Azure.WebJobs.Host.Executors.FunctionInvoker`2.InvokeAsync(Object instance, Object[] arguments)\n" +
		"   at Microsoft.Azure.WebJobs.Host.Executors.FunctionExecutor.InvokeWithTimeoutAsync(IFunctionInvoker invoker, ParameterHelper parameterHelper, " +
		"CancellationTokenSource timeoutTokenSource, CancellationTokenSource functionCancellationTokenSource, Boolean throwOnTimeout, TimeSpan timerInterval, IFunctionInstance instance)\n" +
		"   at Microsoft.Azure.WebJobs.Host.Executors.FunctionExecutor.ExecuteWithWatchersAsync(IFunctionInstanceEx instance, ParameterHelper parameterHelper, " +
		"ILogger logger, CancellationTokenSource functionCancellationTokenSource)\n"
	outerFrame = "   at Microsoft.Azure.WebJobs.Host.Executors.FunctionExecutor.ExecuteWithLoggingAsync(IFunctionInstanceEx instance, FunctionStartedMessage message, " +
		"FunctionInstanceLogEntry instanceLogEntry, ParameterHelper parameterHelper, ILogger logger, CancellationToken cancellationToken)"
	sendFrame   = "   at Microsoft.Azure.WebJobs.Script.Workers.Http.DefaultHttpWorkerService.ProcessDefaultInvocationRequest(ScriptInvocationContext scriptInvocationContext)\n"
	statusFrame = "   at System.Net.Http.HttpResponseMessage.EnsureSuccessStatusCode()\n"
	tryFrame    = "\n   at Microsoft.Azure.WebJobs.Host.Executors.FunctionExecutor.TryExecuteAsync(IFunctionInstance functionInstance, CancellationToken cancellationToken)"
)

// serializeFailure writes the exception as Newtonsoft does: the outer one through ISerializable,
// the inner one by its properties.
func serializeFailure(inv *invocation, e *exception) string {
	trace, source := sendFrame, "Microsoft.Azure.WebJobs.Script"
	inner := members{}
	if e.class == httpRequestException {
		source = "System.Net.Http"
		if e.status != 0 {
			trace = statusFrame + trace
			inner.add("HttpRequestError", "0")
			inner.add("StatusCode", fmt.Sprint(e.status))
		} else {
			inner.add("HttpRequestError", "0")
			inner.add("StatusCode", "null")
		}
	}
	cause := "null"
	if e.inner != nil {
		cause = members{{"Message", quoteJSON(e.inner.message)}, {"Data", "{}"},
			{"InnerException", "null"}, {"HelpLink", "null"},
			{"Source", quoteJSON(source)},
			{"HResult", "-2146232800"}, {"StackTrace", "null"}}.String()
	}
	inner = append(inner, member{"Message", quoteJSON(e.message)}, member{"Data", "{}"},
		member{"InnerException", cause}, member{"HelpLink", "null"},
		member{"Source", quoteJSON(source)}, member{"HResult", "-2146233088"},
		member{"StackTrace", quoteJSON(trace + innerFrames + outerFrame)})
	if e.class == timeoutException {
		inner = nil
	}
	innerJSON := "null"
	class, message := invocationException,
		"Exception while executing function: Functions."+inv.fn.name
	if inner != nil {
		innerJSON = inner.String()
	} else {
		class, message = e.class, e.message
	}
	return members{{"InstanceId", quoteJSON(inv.id)},
		{"MethodName", quoteJSON("Host.Functions." + inv.fn.name)}, {"Handled", "false"},
		{"ClassName", quoteJSON(class)},
		{"Message", quoteJSON(message)}, {"Data", "null"}, {"InnerException", innerJSON},
		{"HelpURL", "null"}, {"StackTraceString",
			quoteJSON(outerFrame + tryFrame)},
		{"RemoteStackTraceString", "null"}, {"RemoteStackIndex", "0"}, {"ExceptionMethod", "null"},
		{"HResult", "-2146233088"},
		{"Source", quoteJSON("System.Private.CoreLib")}, {"WatsonBuckets", "null"}}.String()
}
