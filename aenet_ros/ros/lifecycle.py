"""A lifecycle node that says why a transition failed; rclpy swallows what a transition raises."""

import traceback
from abc import abstractmethod
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from aenet_ros.core.errors import AenetError, format_error


class LoggedLifecycleNode(LifecycleNode):
    """Maps the transitions to four steps that may raise; a reason is logged and kept in ``problem`` until one succeeds.

    ``reached`` is the label of the state that the last transition led to.
    """

    reached = "unconfigured"
    problem = ""

    @abstractmethod
    def configure(self) -> None:
        """Take what is needed before frames may come; undone by ``release``."""

    @abstractmethod
    def activate(self) -> None:
        """Begin to work; undone by ``halt``."""

    @abstractmethod
    def halt(self) -> None:
        """Stop to work; also called where there is nothing to stop."""

    @abstractmethod
    def release(self) -> None:
        """Give back everything, working or not."""

    def start(self) -> bool:
        """Configure and activate; True where the node is active then."""
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            return False
        return bool(self.trigger_activate() == TransitionCallbackReturn.SUCCESS)

    def stop(self) -> None:
        """Release everything before the node is destroyed, whatever state it is in."""
        self._run("stop", self.release, "finalized")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``configure``."""
        return self._run("configure", self.configure, "inactive", undo=self.release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``activate``."""
        done = self._run("activate", self.activate, "active", undo=self.halt)
        return super().on_activate(state) if done == TransitionCallbackReturn.SUCCESS else done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``halt``."""
        done = self._run("deactivate", self.halt, "inactive")
        return super().on_deactivate(state) if done == TransitionCallbackReturn.SUCCESS else done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``."""
        return self._run("cleanup", self.release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``."""
        return self._run("shutdown", self.release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See ``release``; the node is unconfigured afterwards."""
        return self._run("error processing", self.release, "unconfigured")

    def _run(self, name: str, step: Callable[[], None], reached: str, undo: Callable[[], None] | None = None) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:
            reason = format_error(error)
            self.problem = f"cannot {name}: {reason}"
            self.get_logger().error(self.problem)
            if not isinstance(error, AenetError):
                self.get_logger().error(traceback.format_exc())
        else:
            self.reached, self.problem = reached, ""
            return TransitionCallbackReturn.SUCCESS
        if undo is None:
            return TransitionCallbackReturn.ERROR
        undo()
        return TransitionCallbackReturn.FAILURE
