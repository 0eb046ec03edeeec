// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The delay before an admin action: OpenZeppelin's TimelockController, proposed by the board.
/// @notice Anybody may execute what was scheduled once its delay is over; nobody holds its admin role
/// but itself.
contract AdminDelay is TimelockController {
    constructor(uint256 delay, address[] memory proposers, address[] memory executors)
        TimelockController(delay, proposers, executors, address(0))
    {}
}
