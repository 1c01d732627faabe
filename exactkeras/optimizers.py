"""RMSprop, Adam and SGD of Keras 3.15, in the defined arithmetic.

RMSprop and Adam use TensorFlow's fused kernels. They pass over the weights two or three times, Keras's formulas ten
times. The kernels round each operation separately. `probe` compares them with the formulas before each training.
"""

from typing import Any

import keras
import tensorflow as tf


class RMSprop(keras.optimizers.RMSprop):
    """Keras's RMSprop, without momentum and centring.

    v += (g g - v) (1 - rho); w -= g rate / sqrt(v + epsilon). Keras computes v = rho v + (1 - rho) g g, which is equal
    but for rounding.
    """

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        # The kernel needs a variable for the momentum, though the momentum is zero here.
        self.still = [self.add_variable_from_reference(variable, name="still") for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self.still[index].value.handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=0.0,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Adam(keras.optimizers.Adam):
    """Keras's Adam, but each step multiplies B1 and B2, the powers of the decays b1 and b2, by one more factor.

    `pow` is not used, since its last bits may differ between libraries.

    m += (g - m) (1 - b1); v += (g g - v) (1 - b2); w -= m (rate sqrt(1 - B2) / (1 - B1)) / (sqrt(v) + epsilon).
    """

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.powers = [self.add_variable(shape=(), initializer="ones", name=f"power_{k}") for k in (1, 2)]

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        for power, decay in zip(self.powers, (self.beta_1, self.beta_2), strict=True):
            power.assign(power * decay)
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.powers[0],
            beta2_power=self.powers[1],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


#: The optimizers by their names in a `Recipe`. Keras's own SGD, w -= g rate, is already in the defined arithmetic.
OPTIMIZERS = {"rmsprop": RMSprop, "adam": Adam, "sgd": keras.optimizers.SGD}
