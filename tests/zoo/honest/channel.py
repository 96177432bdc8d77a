"""Long at the highest close of 15 bars, short at the lowest, untouched between."""


class Strategy:
    def on_bar(self, past):
        if len(past.close) < 16:
            return None
        window, newest = past.close[-16:-1], past.close[-1]
        weights = {}
        for i, symbol in enumerate(past.symbols):
            if newest[i] > window[:, i].max():
                weights[symbol] = 0.2
            elif newest[i] < window[:, i].min():
                weights[symbol] = -0.2
        return weights
